"""hw4_scaling, the three exercises on the bill."""

from course_lib.exercises.engine import Exercise, Section
from course_lib.exercises.hw4_bill import cost_cases, energy_cases, energy_mwh, mfu, mfu_cases, training_cost
from course_lib.exercises.hw4_misbilled import COST_MISTAKES, ENERGY_MISTAKES, MFU_MISTAKES

TRAINING_COST = Exercise(
    name="training_cost",
    points=1,
    lesson=Section("08_cost_and_energy", "The bill"),
    reference=training_cost,
    cases=cost_cases,
    mistakes=COST_MISTAKES,
)
MFU = Exercise(
    name="mfu",
    points=2,
    lesson=Section("08_cost_and_energy", "Operations, and what the GPUs could have done"),
    reference=mfu,
    cases=mfu_cases,
    mistakes=MFU_MISTAKES,
)
ENERGY = Exercise(
    name="energy_mwh",
    points=1,
    lesson=Section("08_cost_and_energy", "Energy"),
    reference=energy_mwh,
    cases=energy_cases,
    mistakes=ENERGY_MISTAKES,
)
