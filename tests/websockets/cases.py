"""Runs the cases of Autobahn's test suite (by kosoku, which drives its case files) against a websocket server.

    cases.py URL CASES...        CASES: numbers or patterns, such as 1.* or 7.1.5

Writes a line a case: its number, the verdict on the messages, the verdict on the end of the connection.
"""
import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient


async def main(url, cases):
    try:
        results = await run_fuzzingclient(url, cases, concurrency=4)
    except FailureError as failure:
        results = failure.results
    for result in results:
        print(result.case_id, result.behavior.value, result.behavior_close.value)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
# Its threads can abort an interpreter that is being taken down, on a busy machine about one in five.
sys.stdout.flush()
os._exit(0)
