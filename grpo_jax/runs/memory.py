"""How much memory a stage took at its peak: of a device where it says so, else of this process."""

import pathlib
import resource

import jax


def forget_peak() -> None:
  """The process's peak counts from here on, where Linux lets it (proc(5), clear_refs); a device's cannot be reset."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    return


def peak_memory() -> dict[str, int | str]:
  """{"memory/peak_bytes": …, "memory/of": what was measured}."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if "peak_bytes_in_use" in stats:
    return {"memory/peak_bytes": stats["peak_bytes_in_use"], "memory/of": "one device, since the process began"}
  status = pathlib.Path("/proc/self/status")
  lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")] if status.exists() else []
  if lines:
    return {"memory/peak_bytes": int(lines[0].split()[1]) * 1024, "memory/of": "the process, resident"}
  used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac
  return {"memory/peak_bytes": used, "memory/of": "the process, resident, since it began"}
