"""Everything that ends an export, in one tree; a message says what was wrong, where, and what would be right.

ExportError
├── CheckpointError     the checkpoint cannot be read, or is not one of ours, or does not fit together
├── PicturesError       there are no real pictures to prove the export with
├── OptionError         an option that this checkpoint or this machine cannot follow
├── OutputError         the model repository entry cannot be written
├── ModelFileError      a file that is no model of ours
└── ProofError          the model does not do what the network did; nothing is written
    ├── GraphInvalid        ONNX itself refuses the graph
    ├── NamesDiffer         other inputs or outputs than the contract's
    ├── ShapesDiffer        other shapes or types than the contract's
    ├── ValuesDiffer        other pictures than PyTorch's; carries the largest difference
    ├── RowsDiffer          a picture's translation depends on its batch; carries the largest difference
    ├── RunsDiffer          the same picture comes out differently when it is run again; carries the largest difference
    ├── SeedsWrong          a seed does not give the same picture again, or two seeds give the same one
    └── NotVerified         a model file does not hold on this machine; carries the report
"""

from __future__ import annotations


class ExportError(Exception):
    """Base of all errors that the command tells in one line."""


class CheckpointError(ExportError):
    """The checkpoint cannot be read, or is not one of ours, or does not fit together."""


class PicturesError(ExportError):
    """There are no real pictures to prove the export with."""


class OptionError(ExportError):
    """An option that this checkpoint or this machine cannot follow."""


class OutputError(ExportError):
    """The model repository entry cannot be written."""


class ModelFileError(ExportError):
    """The file is no model of ours."""


class ProofError(ExportError):
    """The model does not do what the network did."""


class GraphInvalid(ProofError):
    """ONNX refuses the graph."""


class NamesDiffer(ProofError):
    """The model has other inputs or outputs than the contract."""


class ShapesDiffer(ProofError):
    """The model's inputs or outputs have other shapes or types than the contract."""


class ValuesDiffer(ProofError):
    """The model's pictures are not PyTorch's; `largest` is in levels of 255."""

    def __init__(self, message: str, largest: float) -> None:
        super().__init__(message)
        self.largest = largest


class RowsDiffer(ProofError):
    """A picture's translation depends on the batch it is in; `largest` is in levels of 255."""

    def __init__(self, message: str, largest: float) -> None:
        super().__init__(message)
        self.largest = largest


class RunsDiffer(ProofError):
    """The same picture comes out differently when it is run again; `largest` is in levels of 255."""

    def __init__(self, message: str, largest: float) -> None:
        super().__init__(message)
        self.largest = largest


class SeedsWrong(ProofError):
    """A seed does not give the same picture again, or two seeds give the same one."""


class NotVerified(ProofError):
    """A model file does not hold on this machine; `report` tells all checks, as the user wants them told."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report
