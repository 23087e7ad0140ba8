"""The model of `load.py` under LitServe, which sends its class to other processes and so wants a module for it."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import litserve

from fusion_ln.decode.picture import read_picture
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.predict.predictor import load_predictor
from fusion_ln.serve.room import ModelRoom, PatientAnswer, Question


class Triplets(litserve.LitAPI):
    """The room of a model, asked by batches of LitServe of the same size and wait as our own.

    LitServe reads the types of a request and of a response off the signatures; where they name none, it gives the form.
    """

    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=16, batch_timeout=0.004)
        self.folder = model

    def setup(self, device: str) -> None:
        self.room = ModelRoom(load_predictor(self.folder), 10_000)

    def decode_request(self, request) -> Question:
        pictures = {}
        for modality, side in self.room.predictor.model.record.modalities.items():
            with tempfile.NamedTemporaryFile() as file:
                file.write(request[modality].file.read())
                file.flush()
                pictures[modality] = prepare_picture(read_picture(Path(file.name)), side)
        return Question(pictures)

    def batch(self, inputs: Iterable[Question]) -> list[Question]:
        return list(inputs)

    def predict(self, inputs: list[Question]) -> list[PatientAnswer]:
        return [each.result() for each in [self.room.ask(question) for question in inputs]]

    def unbatch(self, output: list[PatientAnswer]) -> list[PatientAnswer]:
        return list(output)

    def encode_response(self, output: PatientAnswer):
        return output


def run_litserve(model: Path, port: int) -> None:
    """Serve a model until its process group, which is its own, is killed: LitServe leaves processes behind."""
    os.setsid()
    litserve.LitServer(Triplets(model), accelerator="cpu", timeout=120).run(port=port, generate_client_file=False)
