"""The numbers in the header of a frame (RFC 6455, section 5.2), as plain ints. All modules of the codec use these."""

# In the first byte.
FIN = 0x80
RSV1 = 0x40
RSV2 = 0x20
RSV3 = 0x10
OPCODE = 0x0F
CONTROL = 0x08
CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
# In the second byte.
MASKED = 0x80
LENGTH_16 = 126
LENGTH_64 = 127

UNMASKED = -1  # in place of a masking key
