"""The one exception that ends a command in a clear line instead of a traceback."""


class UserError(Exception):
    """Something that the user can mend; the message says what is wrong and how to mend it, in one line."""
