"""Cold: MONITOR_SAMPLE, and what a collector that is overrun (429) asks for. Builtin modules only. Loaded only where
one of them is wanted; a session that keeps everything has nothing of it.

Guarantees: errors and lifecycle are always kept, and so is all that a session records after an error. What is sampled
out uses up a sequence number, and the call that recorded it returns None.
"""

from . import cold, guard, recorder

SAMPLED = {"metric": recorder.METRIC, "event": recorder.EVENT}
KINDS = (recorder.METRIC, recorder.EVENT)
NEVER = ("error", "lifecycle")
LEAST = 1 / 1024
"""However often the collector answers 429, this part is kept."""
MAX_NAMES = 4096

out = None
"""An iterator that was advanced once for each event that was sampled out; None: there was none."""


def rules_of(text, problems):
    """Return ((kind, glob, rate), ...) of e.g. `metric=0.1,event:click.*=0.01`, the one that counts first."""
    rules = []
    for word in text.split(","):
        given, sign, number = word.strip().rpartition("=")
        kind, _, glob = given.strip().partition(":")
        kind, rate = kind.strip().lower(), rate_of(number)
        if not word.strip() or (not given and number.strip().lower() == "all"):
            continue
        if kind in NEVER:
            problems.append("MONITOR_SAMPLE names " + kind + ", which is never sampled: this part counts for nothing")
        elif not sign or rate is None or kind not in SAMPLED:
            told = "MONITOR_SAMPLE has a part that is not TYPE=RATE or TYPE:NAME=RATE with a type of event or metric"
            problems.append(told + " and a rate from 0 to 1: that part counts for nothing")
        else:
            rules.append((SAMPLED[kind], glob.strip() or "*", rate))
    return tuple(sorted(rules, key=lambda rule: -len(rule[1])))


def rate_of(text):
    """Return a rate from 0 to 1, also given as 10%; None for anything else."""
    text = text.strip()
    try:
        rate = float(text[:-1]) / 100 if text[-1:] == "%" else float(text)
    except guard.ours(ValueError):
        return None
    return rate if 0 <= rate <= 1 else None


def matches(glob, name):
    """True when a name fits a glob, in which * stands for any characters."""
    first, *rest = glob.split("*")
    if not rest:
        return name == glob
    if not name.startswith(first):
        return False
    place, last = len(first), rest.pop()
    for part in rest:
        place = name.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return len(name) - place >= len(last) and name.endswith(last)


class Sampler:
    """The decisions of one session."""

    def __init__(self, full, rules, seed):
        """`full` is the function that records everything."""
        self.full, self.rules, self.state = full, rules, seed
        self.factor = 1.0
        self.rates = {}
        self.is_over = False

    def rate(self, kind, name):
        """Return the part of an event's kind and name that is kept; the longest glob that fits counts."""
        key = kind, name
        rate = self.rates.get(key)
        if rate is None:
            fitting = [part for of, glob, part in self.rules if of == kind and matches(glob, name.lower())]
            rate = fitting[0] if fitting else 1.0
            if len(self.rates) < MAX_NAMES:
                self.rates[key] = rate
        return rate * self.factor

    def draw(self):
        """Return a number from 0 to 1, a different one each time (Knuth's MMIX generator: no module is needed)."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 11) / (1 << 53)

    def record(self, kind, name, data):
        """Record an event, or use up its number."""
        if kind == recorder.ERROR:
            stop("an error was recorded: everything is kept")
        elif kind in KINDS and type(name) is str and recorder.session is not None:
            if self.draw() >= self.rate(kind, name):
                guard.call("sampling", leave_out)
                return None
        return self.full(kind, name, data)


_sampler = None


def leave_out():
    """Use up the number of an event, and count it."""
    global out
    cold("limits").skip()
    if out is None:
        out = iter(range(1 << 62))
    next(out)
    recorder.has_report = True


def leaves_out(kind, name):
    """True when an event is not to be recorded, for who writes it himself: then its number is used up."""
    if _sampler is None:
        recorder.record = cold("recording").make_record()
    if _sampler.is_over or _sampler.draw() < _sampler.rate(kind, name):
        return False
    guard.call("sampling", leave_out)
    return True


def install(full):
    """Return what has to stand in the place of `full`, the function that records everything."""
    global _sampler
    if _sampler is None:
        _sampler = Sampler(full, recorder.settings.sample, int(recorder.session.id[-12:], 16))
    _sampler.full = full
    return full if _sampler.is_over else _sampler.record


def sampled_out():
    """Return how many events were left out so far."""
    return 0 if out is None else (1 << 62) - out.__length_hint__()


def halve():
    """Keep half as much as before of metrics and events: the collector has answered 429."""
    if _sampler is None:
        recorder.record = cold("recording").make_record()
    if not _sampler.is_over and _sampler.factor > LEAST:
        _sampler.factor /= 2
        tell("the collector answered 429")


def restore():
    """Keep again what MONITOR_SAMPLE says: the collector takes events."""
    if _sampler is not None and _sampler.factor < 1 and not _sampler.is_over:
        _sampler.factor = 1.0
        tell("the collector takes events again")


def stop(reason):
    """Keep everything from now on: somebody will want to know what came after an error."""
    if not _sampler.is_over:
        is_news = _sampler.rules or _sampler.factor < 1
        _sampler.is_over, _sampler.factor = True, 1.0
        recorder.record = _sampler.full
        if is_news:
            tell(reason)


def tell(reason):
    """Record what part is kept from now on of what MONITOR_SAMPLE keeps."""
    text = '{"value":%s,"reason":"%s"}' % (_sampler.factor, reason)
    recorder.write(recorder.METRIC, "sdk.sampling.rate", text)
    cold("selfreport").enter_sampled(sampled_out())


def reset():
    """Begin anew, in a forked child."""
    global _sampler, out
    if _sampler is not None:
        recorder.record = recorder.load_record
        _sampler = out = None
