"""A server with one worker for each client, until Ctrl-C. ``seppo worker`` has more."""

import logging

import seppo

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    seppo.start_seppo_enslaved_server()
