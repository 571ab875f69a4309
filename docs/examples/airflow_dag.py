"""An Airflow DAG that trains a line every night, and hands the bundle on where its gates passed.

Needs `loupe-trainer` on the worker's path, and two Airflow variables: `loupe_store` (the folder of
images, data sets and runs) and `loupe_lines` (the folder of the lines' TOML files).
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

LINE = "watch-case"
WORK = "/tmp/loupe/{{ ds_nodash }}"
SETTINGS = {
    "LOUPE_STORE": "{{ var.value.loupe_store }}",
    "CONFIG": "{{ var.value.loupe_lines }}/" + LINE + ".toml",
    "WORK": WORK,
}

with DAG(
    dag_id=f"loupe_{LINE.replace('-', '_')}",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0},
) as dag:
    check = BashOperator(
        task_id="check_the_data",
        bash_command="loupe-trainer validate --json",
        env=SETTINGS,
        append_env=True,
    )
    train = BashOperator(
        task_id="train",
        # Exit status 2 is a person's mistake, 3 a gate that failed (the bundle is there, for a look),
        # 4 a training that stopped or did not converge: each fails the task, and none is retried.
        bash_command=(
            'mkdir -p "$WORK" && loupe-trainer train "$CONFIG" --time-budget 20m '
            '--out "$WORK/bundle.tar" --metrics "$WORK/metrics.json" --json'
        ),
        env=SETTINGS,
        append_env=True,
        execution_timeout=timedelta(hours=1),
    )
    prove = BashOperator(
        task_id="train_again_and_compare",
        # 0: the same bit for bit; 1: within the tolerances, which another machine may come to.
        bash_command='loupe-trainer reproduce "$WORK/bundle.tar" --json || [ $? -eq 1 ]',
        env=SETTINGS,
        append_env=True,
    )
    check >> train >> prove
