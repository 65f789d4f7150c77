"""Settings of a training by the names of their flags: which there are, what their texts mean, what config they make.

For whoever has names and texts instead of a config: the command line, and files that describe several trainings.
No TensorFlow here.
"""

from tla_tf.settings.options import flag_of_path, reading_options, recipe_options, shared_options
from tla_tf.settings.resolving import resolve
from tla_tf.settings.texts import parsed

__all__ = ["flag_of_path", "parsed", "reading_options", "recipe_options", "resolve", "shared_options"]
