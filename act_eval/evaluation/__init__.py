"""What an evaluation runs, and one worker's part of it."""
