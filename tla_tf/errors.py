"""The one exception that means "the input is wrong, and the message says how"."""


class InputError(ValueError):
  """Raised for a wrong argument, file, folder or flag value.

  Its message is one sentence that names the thing and the remedy. The
  command-line tools print it without a traceback and exit with status 1;
  library users may catch it as a `ValueError`.
  """
