"""The topics of the comparison, in the order of the page."""

from .calls import IDENTIFY, RETURNS, TRACK
from .delivery import DELIVERY, EXIT, LOGGING, ON_ERROR
from .django import DJANGO
from .names import NAMES
from .options import OPTIONS

TOPICS = (NAMES, OPTIONS, RETURNS, TRACK, IDENTIFY, ON_ERROR, LOGGING, DELIVERY, EXIT, DJANGO)
