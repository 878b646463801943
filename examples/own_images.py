"""Classify images of your own without and with an operator, and compare the two runs.

You learn the layout that `dataset=folder` reads, and how to get a paired difference of two runs.
"""

from pathlib import Path

from PIL import Image

from bigain.cli.main import main
from bigain.data.fashion_mnist import FashionMNIST
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id

# In the place of your images: 20 that ship with the package, as own/<class>/<number>.png.
garments = FashionMNIST(limit=20)
for sample in (garments[position] for position in range(20)):
    folder = Path("own", garments.class_names[sample.label or 0])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample.image).save(folder / f"{sample.image_id}.png")

# Of other classes with backbone=sd20, which knows photographs: docs/datasets.md.
settings = ["dataset=folder", "dataset.root=own", "backbone=mini_unet"]
settings += ["dataset.limit=6", "task.trial_list=[1,4]"]  # fewer trials than the paper's, for speed

runs = []
for operator in (["operator=none"], ["operator=todo", "operator.factor=2"]):
    main([*settings, *operator])
    runs.append(run_id(compose_config([*settings, *operator])))
main(["compare", *runs])
