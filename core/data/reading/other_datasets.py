"""Headers of other public datasets that people mistake for Criteo's click data."""

from collections.abc import Sequence

OTHER_DATASETS: dict[str, frozenset[str]] = {
    "Criteo's uplift dataset": frozenset({"f0", "f1", "treatment", "conversion", "visit"}),
    "Criteo's attribution dataset": frozenset(
        {"uid", "campaign", "conversion", "attribution", "cat1"}
    ),
    "Criteo's sponsored search conversion log": frozenset(
        {"sale", "salesamountineuro", "timedelayforconversion"}
    ),
    "Criteo's FairJob dataset": frozenset({"protectedattribute", "senior", "displayrandom"}),
    "Avazu's click data": frozenset({"click", "hour", "bannerpos", "siteid", "deviceid"}),
    "iPinYou's bidding log": frozenset({"bidid", "logtype", "useragent", "adslotid"}),
    "Taobao's ad display data": frozenset(
        {"user", "timestamp", "adgroupid", "pid", "nonclk", "clk"}
    ),
    "MovieLens": frozenset({"userid", "movieid", "rating", "timestamp"}),
    "Outbrain's click data": frozenset({"displayid", "adid", "clicked"}),
    "KDD Cup 2012's search ad data": frozenset(
        {"impression", "displayurl", "adid", "advertiserid"}
    ),
    "the census income dataset": frozenset({"age", "workclass", "education", "occupation"}),
}
"""By name: columns, in lower case and without separators, that together occur in none of the
others."""


def recognise_other_dataset(names: Sequence[str]) -> str:
    """Return the name of the dataset whose columns are all in a header; "" if there is none."""
    plain = {"".join(letter for letter in name.lower() if letter.isalnum()) for name in names}
    return next((title for title, columns in OTHER_DATASETS.items() if columns <= plain), "")
