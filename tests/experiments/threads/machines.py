"""Descriptions of machines that do not exist."""

from preprocess.system.machine import Machine


def machine(cores=2, *, threads_a_core=1, quota=None, nodes=1, cpu="Fast 9", memory=64 * 10**9):
    """Make a machine whose hyper-threads are numbered after its cores."""
    groups = tuple(tuple(core + cores * t for t in range(threads_a_core)) for core in range(cores))
    usable = tuple(sorted(cpu for group in groups for cpu in group))
    parts = [groups[cores * n // nodes : cores * (n + 1) // nodes] for n in range(nodes)]
    numa = tuple(tuple(sorted(cpu for group in part for cpu in group)) for part in parts)
    return Machine(cpu, len(usable), usable, groups, numa, nodes, quota, memory)
