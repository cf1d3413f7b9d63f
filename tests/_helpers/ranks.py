"""Processes that fit together: started once, and given one function after another."""

import multiprocessing
import os
import pickle
import signal
import traceback
import uuid
import warnings


class Ranks:
    """Processes that call functions of a module, in groups of torch.distributed.

    Parameters
    ----------
    size : int
        How many.
    folder : path
        Where they find one another.
    meeting : str, optional
        Where else they do so, once.
    """

    def __init__(self, size, folder, meeting=None):
        self.meeting = meeting
        context = multiprocessing.get_context("spawn")
        self.folder, self.pipes, self.processes = folder, [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def start(self, function, size, **arguments):
        """Let the first ``size`` processes call a function of this name, without waiting."""
        meeting = self.meeting or f"file://{self.folder}/{uuid.uuid4().hex}"
        for pipe in self.pipes[:size]:
            pipe.send((function, size, meeting, arguments))

    def result(self, rank, seconds=240):
        """Return what a rank's function returned, or the exception that it raised."""
        if not self.pipes[rank].poll(seconds):
            raise TimeoutError(f"rank {rank} said nothing in {seconds} s")
        return pickle.loads(self.pipes[rank].recv_bytes())

    def call(self, function, size, **arguments):
        """Return what the first ``size`` processes return, in their order."""
        self.start(function, size, **arguments)
        results = [self.result(rank) for rank in range(size)]
        for pipe in self.pipes[:size]:
            pipe.send("leave")  # a process that left its group early would end those that wait
        return results

    def kill(self, rank):
        """Kill a process as a machine that fails does."""
        os.kill(self.processes[rank].pid, signal.SIGKILL)
        self.processes[rank].join()

    def close(self):
        """End them all."""
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank, pipe):
    import rank_cases
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    while (message := pipe.recv()) is not None:
        function, size, meeting, arguments = message
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
        try:
            result = getattr(rank_cases, function)(**arguments)
        except BaseException as error:
            error.add_note(traceback.format_exc()) if hasattr(error, "add_note") else None
            result = type(error)(*error.args)
            result.trace = traceback.format_exc()
        pipe.send_bytes(pickle.dumps(result))
        pipe.recv()
        dist.destroy_process_group()
