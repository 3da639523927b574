"""A perturbation of your own: fog over every camera image.

act-eval evaluate --policy act --env confuser_pick --delay 0 --perturb own_perturbation:Fog=3
"""

from dataclasses import dataclass

import numpy as np

from act_eval.perturbations.images import ImagePerturbation


@dataclass
class Fog(ImagePerturbation):
    """Images mixed with light grey; the density is drawn per episode about its severity."""

    shade: int = 200

    def begin(self):
        self.density = 0.15 * self.severity * self.rng.uniform(0.8, 1.2)

    def image(self, image, camera, step):
        return np.rint((1 - self.density) * image + self.density * self.shade).astype(np.uint8)
