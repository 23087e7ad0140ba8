"""Does fusing grey-scale, Doppler and elastography pictures tell lymph nodes apart better than one of them?"""

__version__ = "0.1.0"
