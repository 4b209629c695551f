"""Reports: what was measured, with its spread, and what may be said of it."""

from keras_transfer.files import put_whole, to_json, write_folder_whole, write_whole
from keras_transfer.report.continual import continual_scores
from keras_transfer.report.few_shot import FewShotReport
from keras_transfer.report.transfer import Gain, TransferReport, default_margin, paired_gain

__all__ = ["FewShotReport", "Gain", "TransferReport", "continual_scores", "default_margin", "paired_gain"]
__all__ += ["put_whole", "to_json", "write_folder_whole", "write_whole"]
