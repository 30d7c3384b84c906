"""Words of a text, counted, sorted and joined: strings and dictionaries."""
import collections
import sys

with open("text", encoding="ascii") as file:
    text = file.read(1 << 19)
for round_number in range(int(sys.argv[1])):
    counts = collections.Counter()
    follow = {}
    last = ""
    for word in text.split():
        word = word.strip(".,").lower()
        counts[word] += 1
        follow.setdefault(last, set()).add(word)
        last = word
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    print(round_number, best, sum(map(len, follow.values())))
    print("|".join(sorted(word[::-1] for word in counts))[:500])
