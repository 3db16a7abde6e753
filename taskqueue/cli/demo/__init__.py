"""`taskqueue demo`: the main job end to end, on a real server that lives as long as the demo does.

scene.py      what is submitted, and what must come of it
play.py       server, queue and scheduler, from start to end
recorder.py   which handler was called when: the witness against which order is checked
promises.py   pure checks of what happened against what was promised
watch.py      live progress
report.py     tables and JSON at the end
"""
