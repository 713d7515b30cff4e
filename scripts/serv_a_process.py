"""The worker: serves one process until Ctrl-C. Start as many as there are cores."""

import logging

import seppo

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    seppo.start_seppo_enslaved_server()
