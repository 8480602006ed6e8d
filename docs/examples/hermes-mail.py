# A webhook script of Hermes Agent: makes the one mail of a request the payload, so that a prompt can name its fields.
import json, sys
call = json.load(sys.stdin)
if not call.get("test"):  # a test of Postbell starts no agent
    mail = call["messages"][0]
    json.dump({"body": mail["snippet"]} | mail, sys.stdout)
