"""Regular expressions over a text."""
import re
import sys

with open("text", encoding="ascii") as file:
    text = file.read(150000)
patterns = [r"\b([a-z])[a-z]*\1\b", r"(?i)\b(?:the|an?|of)\s+(\w+)", r"[aeiou]{2,}[^aeiou\s]+", r"(\w+)\W+(?=\1\b)",
            r"^[A-Z][^.]*,[^.]*\.", r"(?:[a-z]+ ){6}[a-z]+ing?\b"]
for _ in range(int(sys.argv[1])):
    for pattern in patterns:
        found = re.findall(pattern, text, re.M)
        print(pattern, len(found), found[-1:])
    print(len(re.sub(r"([a-z])([a-z])", r"\2\1", text)))
