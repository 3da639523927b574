// One clock for videos, lanes and plots, in control steps.

const clock = { t: 0, end: 0, playing: false, rate: 1, stepS: 0.05, last: 0, waited: 0, followers: new Set(), ready: () => true };
const MOST_WAITING = 3; // seconds that the clock waits for a late video

function showTime() {
  view.t = clock.t;
  clock.followers.forEach((follow) => follow(clock.t, clock.playing));
}

function seek(t) {
  clock.t = clamp(t, 0, clock.end);
  showTime();
  if (!clock.playing) writeAddress(false);
}

function setPlaying(playing) {
  if (playing && clock.t >= clock.end) clock.t = 0;
  clock.playing = playing && clock.end > 0;
  clock.last = performance.now();
  clock.waited = 0;
  showTime();
  if (clock.playing) requestAnimationFrame(tick);
  else {
    clock.t = Math.round(clock.t);
    showTime();
    writeAddress(false);
  }
}

function tick(now) {
  if (!clock.playing) return;
  const passed = clamp(now - clock.last, 0, 250) / 1000; // a frame's time may lie before the key that began it
  clock.last = now;
  if (clock.ready() || clock.waited > MOST_WAITING) clock.t += (passed * clock.rate) / clock.stepS;
  else clock.waited += passed;
  if (clock.t >= clock.end) {
    clock.t = clock.end;
    setPlaying(false);
    return;
  }
  showTime();
  requestAnimationFrame(tick);
}
