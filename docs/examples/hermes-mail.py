# A webhook script of Hermes Agent: makes the one mail of a request the payload, so that a prompt can name its fields.
import json, sys
mail = json.load(sys.stdin)["messages"][0]
json.dump({"body": mail["snippet"]} | mail, sys.stdout)
