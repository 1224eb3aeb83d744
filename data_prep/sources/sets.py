# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The built-in data sets."""

from data_prep.sources.dataset import VERL_ANSWER, Columns, DataSet
from data_prep.sources.generated import ArithmeticSet

TRAIN = {"train": "train"}
TEST = {"test": "test"}
BOTH = {"train": "train", "test": "test"}

BUILTIN: tuple[DataSet, ...] = (
    ArithmeticSet(
        name="arithmetic",
        licence="apache-2.0",
        title="Generated sums and differences for demos and tests",
        splits=BOTH,
        template="bare",
    ),
    DataSet(
        name="dapo_math_17k",
        licence="apache-2.0",
        title="DAPO-Math-17k, original form (100 copies of each row) or bare problems; 17,917 rows",
        hub="BytedTsinghua-SIA/DAPO-Math-17k",
        splits=TRAIN,
        files={"train": ("dapo*math*17k*.parquet",)},
        answer_rule="integer",
        data_source="math_dapo",
    ),
    DataSet(
        name="aime_2024",
        licence="other",
        title="AIME 2024 in DAPO's form (32 copies) or any other; 30 rows",
        hub="BytedTsinghua-SIA/AIME-2024",
        splits={"test": "train"},
        files={"test": ("dapo*aime*2024*.parquet", "*aime*2024*", "*aime24*")},
        answer_rule="integer",
        dedup="problems",
    ),
    DataSet(
        name="aime_2025",
        licence="other",
        title="AIME 2025; 30 rows",
        hub="math-ai/aime25",
        splits=TEST,
        files={"test": ("*aime*2025*", "aime25*", "*aime25*")},
        answer_rule="integer",
        dedup="problems",
    ),
    DataSet(
        name="amc23",
        licence="other",
        title="AMC 12 of 2023; 40 rows",
        hub="math-ai/amc23",
        splits=TEST,
        files={"test": ("*amc*23*",)},
        answer_rule="integer",
        dedup="problems",
    ),
    DataSet(
        name="math",
        licence="mit",
        title="MATH (Hendrycks et al.); 7,500 train and 5,000 test rows",
        hub="DigitalLearningGmbH/MATH-lighteval",
        splits=BOTH,
        files={"train": ("math_train*", "train*"), "test": ("math_test*", "test*")},
        columns=Columns(
            answer=("answer", VERL_ANSWER[0], "reward_model.ground_truth.solution", VERL_ANSWER[1], "solution")
        ),
        # Two train solutions end in an empty box.
        bad_rows="drop",
    ),
    DataSet(
        name="math_500",
        licence="mit",
        title="MATH-500, the 500 test problems of PRM800K",
        hub="HuggingFaceH4/MATH-500",
        splits=TEST,
        files={"test": ("math500*", "math-500*", "math_500*", "*math500*")},
        columns=Columns(id=("unique_id",)),
    ),
    DataSet(
        name="minerva",
        licence="cc-by-nc-sa-4.0",
        title="Minerva's 272 problems of MIT OpenCourseWare",
        hub="math-ai/minervamath",
        splits=TEST,
        files={"test": ("*minerva*",)},
        columns=Columns(answer=("answer", "solution", *VERL_ANSWER)),
    ),
    DataSet(
        name="olympiadbench",
        licence="apache-2.0",
        title="OlympiadBench, text-only English mathematics; 675 rows, some with several answers",
        hub="math-ai/olympiadbench",
        splits=TEST,
        files={"test": ("*olympiad*",)},
        columns=Columns(answer=("final_answer", "answer", *VERL_ANSWER), subject=("subfield",), id=("id",)),
        answer_rule="list",
    ),
    DataSet(
        name="gsm8k",
        licence="mit",
        title="GSM8K grade-school word problems; 7,473 train and 1,319 test rows",
        hub="openai/gsm8k",
        hub_config="main",
        splits=BOTH,
        files={"train": ("*gsm8k*train*",), "test": ("*gsm8k*test*",)},
        answer_rule="gsm8k",
    ),
    DataSet(
        name="deepscaler",
        licence="mit",
        title="DeepScaleR-Preview, or a subset of it",
        hub="agentica-org/DeepScaleR-Preview-Dataset",
        splits=TRAIN,
        files={"train": ("deepscaler*", "dsr*", "*dsr_sub*")},
        # The source has rows whose answer is empty.
        bad_rows="drop",
    ),
    DataSet(
        name="aime_1983_2023",
        licence="other",
        title="AIME 1983 to 2023; 975 rows, for training or as a decontamination reference",
        splits=TRAIN,
        files={"train": ("*aime*1983*",)},
        answer_rule="integer",
    ),
)
