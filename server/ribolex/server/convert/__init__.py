"""Between messages and values; nothing below the services has seen a message.

One module for each .proto file. Decoding refuses what cannot be read with an
InvalidRequestError that names the field; encoding cannot fail.
"""

__all__: list[str] = []
