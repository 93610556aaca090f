from .frames import *
