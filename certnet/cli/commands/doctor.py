"""``certnet doctor``: its options."""

from certnet.cli.options import Job, Json


def doctor(json: Json = False) -> Job:
    """Show versions, solvers and their licences, BLAS threads, memory and GPU."""

    def job() -> int:
        from certnet.cli.doctor import run_doctor

        return run_doctor(json=json)

    return job
