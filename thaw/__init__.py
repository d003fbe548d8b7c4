"""Thaw: how much of a pretrained click model should stay frozen when you fine-tune it on your
traffic?"""

from thaw._paths import add_root

add_root()
