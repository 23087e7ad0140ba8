from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fusion_ln.cohort.head import CohortDetails
from fusion_ln.report.run.patient_pictures import show_picture


def test_an_example_shows_the_imported_frame_of_an_animation(cohort, tmp_path):
    frames = [Image.new("RGB", (24, 24), (value, value, value)) for value in (0, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    animated = replace(
        cohort, images=cohort.images.assign(path="two.gif"), pictures=tmp_path, details=CohortDetails(frame=1)
    )
    axes = Figure().add_subplot()
    show_picture(axes, animated, cohort.patients["patient_id"].iloc[0], "2d")
    assert (np.asarray(axes.images[0].get_array()) == 200).all()
