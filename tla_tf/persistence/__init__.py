"""What is kept on disk: run folders, checkpoints, SavedModels."""

from tla_tf.persistence.checkpoints import CheckpointStore
from tla_tf.persistence.export import export_saved_model
from tla_tf.persistence.run_folder import RunFolder

__all__ = ["CheckpointStore", "RunFolder", "export_saved_model"]
