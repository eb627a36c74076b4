"""Pictures in and out: bytes to pixels, pixels to the model's size and back, pixels to bytes.

Pure functions on NumPy arrays [H, W, C] of 8 or 16 bits, RGB or grey. They may run in any number of threads:
decoding, resizing and encoding give up the interpreter lock.
"""

import cv2

# A picture is one thread's work: the pictures beside it keep the other cores busy.
cv2.setNumThreads(1)
