"""A tree made, written as JSON, read and walked."""
import json
import sys


def tree(depth, number):
    if depth == 0:
        return {"n": number, "text": f"leaf \"{number}\"", "half": number / 2, "none": None}
    return {"children": [tree(depth - 1, number * 3 + i) for i in range(3)], "at": [depth, number], "ok": number % 2 == 0}


def total(node):
    return node["n"] if "n" in node else sum(map(total, node["children"]))


for i in range(int(sys.argv[1])):
    text = json.dumps(tree(8, i), indent=1 if i % 2 else None)
    print(len(text), total(json.loads(text)))
