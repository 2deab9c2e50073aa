"""CI jobs: what `session.start` says of the job, and one trace for all processes of one run of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_auto.boot import ci
from support.children import Children

SHA = "ffac537e6cbbf934b08745a378932722df287a53"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# What each system sets, after its documentation; what is to be recorded of it; and what its next attempt has changed.
JOBS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "github_actions": (
        {
            "GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_WORKFLOW": "Build",
            "GITHUB_REPOSITORY": "octo/hello", "GITHUB_RUN_ID": "1658821493", "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "test", "GITHUB_SHA": SHA, "GITHUB_REF_NAME": "12/merge", "GITHUB_REF_TYPE": "branch",
            "GITHUB_HEAD_REF": "fix-it", "GITHUB_BASE_REF": "main", "RUNNER_NAME": "Hosted Agent",
        },
        {
            "cicd.pipeline.name": "Build", "cicd.pipeline.run.id": "1658821493", "cicd.pipeline.task.name": "test",
            "cicd.pipeline.run.url.full": "https://github.com/octo/hello/actions/runs/1658821493/attempts/1",
            "cicd.worker.name": "Hosted Agent", "vcs.repository.url.full": "https://github.com/octo/hello",
            "vcs.provider.name": "github", "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "fix-it",
            "vcs.ref.head.type": "branch", "vcs.ref.base.name": "main",
        },
        {"GITHUB_RUN_ATTEMPT": "2"},
    ),
    "gitlab": (
        {
            "GITLAB_CI": "true", "CI": "true", "CI_SERVER_URL": "https://gitlab.example.com", "CI_PROJECT_ID": "7",
            "CI_PROJECT_PATH": "group/app", "CI_PROJECT_URL": "https://gitlab.example.com/group/app",
            "CI_PIPELINE_ID": "1000", "CI_PIPELINE_URL": "https://gitlab.example.com/group/app/-/pipelines/1000",
            "CI_JOB_ID": "50", "CI_JOB_NAME": "rspec 1/2", "CI_JOB_URL": "https://gitlab.example.com/group/app/-/jobs/50",
            "CI_COMMIT_SHA": SHA, "CI_COMMIT_REF_NAME": "v1.2", "CI_COMMIT_TAG": "v1.2",
            "CI_REPOSITORY_URL": "https://gitlab-ci-token:glcbt-64_abc@gitlab.example.com/group/app.git",
        },
        {
            "cicd.pipeline.name": "group/app", "cicd.pipeline.run.id": "1000", "cicd.pipeline.task.name": "rspec 1/2",
            "cicd.pipeline.run.url.full": "https://gitlab.example.com/group/app/-/pipelines/1000",
            "cicd.pipeline.task.run.id": "50",
            "cicd.pipeline.task.run.url.full": "https://gitlab.example.com/group/app/-/jobs/50",
            "vcs.repository.url.full": "https://gitlab.example.com/group/app", "vcs.provider.name": "gitlab",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "v1.2", "vcs.ref.head.type": "tag",
        },
        {"CI_JOB_ID": "51"},
    ),
    "jenkins": (
        {
            "JENKINS_URL": "https://ci.example.com/", "BUILD_TAG": "jenkins-app-42", "JOB_NAME": "team/app/main",
            "BUILD_NUMBER": "42", "BUILD_ID": "42", "BUILD_URL": "https://ci.example.com/job/app/42/",
            "STAGE_NAME": "Unit tests", "NODE_NAME": "agent-3", "GIT_COMMIT": SHA, "GIT_BRANCH": "origin/main",
            "GIT_URL": "https://robot:hunter2@git.example.com/team/app.git",
        },
        {
            "cicd.pipeline.name": "team/app/main", "cicd.pipeline.run.id": "42",
            "cicd.pipeline.task.name": "Unit tests",
            "cicd.pipeline.run.url.full": "https://ci.example.com/job/app/42/", "cicd.worker.name": "agent-3",
            "vcs.repository.url.full": "https://git.example.com/team/app", "vcs.ref.head.revision": SHA,
            "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"BUILD_TAG": "jenkins-app-43", "BUILD_NUMBER": "43", "BUILD_ID": "43"},
    ),
    "azure_pipelines": (
        {
            "TF_BUILD": "True", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/org/", "SYSTEM_TEAMPROJECT": "proj",
            "BUILD_BUILDID": "77", "BUILD_DEFINITIONNAME": "nightly", "SYSTEM_JOBID": "12f1170f",
            "AGENT_NAME": "pool 1",
            "SYSTEM_JOBATTEMPT": "1", "SYSTEM_JOBDISPLAYNAME": "Linux py311", "BUILD_SOURCEVERSION": SHA,
            "BUILD_REPOSITORY_URI": "https://org@dev.azure.com/org/proj/_git/app",
            "BUILD_SOURCEBRANCH": "refs/heads/feature/tools",
        },
        {
            "cicd.pipeline.name": "nightly", "cicd.pipeline.run.id": "77", "cicd.pipeline.task.name": "Linux py311",
            "cicd.pipeline.run.url.full": "https://dev.azure.com/org/proj/_build/results?buildId=77",
            "cicd.pipeline.task.run.id": "12f1170f", "cicd.worker.name": "pool 1",
            "vcs.repository.url.full": "https://dev.azure.com/org/proj/_git/app", "vcs.ref.head.revision": SHA,
            "vcs.ref.head.name": "feature/tools", "vcs.ref.head.type": "branch",
        },
        {"SYSTEM_JOBATTEMPT": "2"},
    ),
    "circleci": (
        {
            "CIRCLECI": "true", "CI": "true", "CIRCLE_WORKFLOW_ID": "wf-1", "CIRCLE_WORKFLOW_JOB_ID": "job-1",
            "CIRCLE_JOB": "build", "CIRCLE_BUILD_NUM": "12", "CIRCLE_BUILD_URL": "https://circleci.com/gh/octo/hello/12",
            "CIRCLE_PROJECT_REPONAME": "hello", "CIRCLE_REPOSITORY_URL": "git@github.com:octo/hello.git",
            "CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "main", "CIRCLE_NODE_INDEX": "0",
        },
        {
            "cicd.pipeline.name": "hello", "cicd.pipeline.run.id": "wf-1", "cicd.pipeline.task.name": "build",
            "cicd.pipeline.run.url.full": "https://app.circleci.com/pipelines/workflows/wf-1",
            "cicd.pipeline.task.run.id": "job-1",
            "cicd.pipeline.task.run.url.full": "https://circleci.com/gh/octo/hello/12",
            "vcs.repository.url.full": "git@github.com:octo/hello", "vcs.provider.name": "github",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"CIRCLE_BUILD_NUM": "13", "CIRCLE_WORKFLOW_JOB_ID": "job-2"},
    ),
    "buildkite": (
        {
            "BUILDKITE": "true", "CI": "true", "BUILDKITE_PIPELINE_SLUG": "app", "BUILDKITE_BUILD_ID": "b-1",
            "BUILDKITE_BUILD_URL": "https://buildkite.com/org/app/builds/9", "BUILDKITE_JOB_ID": "j-1",
            "BUILDKITE_LABEL": ":pytest: unit", "BUILDKITE_REPO": "git@gitlab.com:org/app.git",
            "BUILDKITE_COMMIT": SHA, "BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false",
        },
        {
            "cicd.pipeline.name": "app", "cicd.pipeline.run.id": "b-1", "cicd.pipeline.task.name": ":pytest: unit",
            "cicd.pipeline.run.url.full": "https://buildkite.com/org/app/builds/9", "cicd.pipeline.task.run.id": "j-1",
            "cicd.pipeline.task.run.url.full": "https://buildkite.com/org/app/builds/9#j-1",
            "vcs.repository.url.full": "git@gitlab.com:org/app", "vcs.provider.name": "gitlab",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"BUILDKITE_JOB_ID": "j-2"},
    ),
    "bitbucket_pipelines": (
        {
            "CI": "true", "BITBUCKET_BUILD_NUMBER": "5", "BITBUCKET_REPO_FULL_NAME": "team/app",
            "BITBUCKET_GIT_HTTP_ORIGIN": "https://bitbucket.org/team/app", "BITBUCKET_PIPELINE_UUID": "{p-1}",
            "BITBUCKET_STEP_UUID": "{s-1}", "BITBUCKET_COMMIT": SHA, "BITBUCKET_BRANCH": "main",
        },
        {
            "cicd.pipeline.name": "team/app", "cicd.pipeline.run.id": "{p-1}", "cicd.pipeline.task.run.id": "{s-1}",
            "cicd.pipeline.run.url.full": "https://bitbucket.org/team/app/pipelines/results/5",
            "vcs.repository.url.full": "https://bitbucket.org/team/app", "vcs.provider.name": "bitbucket",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"BITBUCKET_STEP_RUN_NUMBER": "2"},
    ),
    "travis": (
        {
            "TRAVIS": "true", "CI": "true", "TRAVIS_REPO_SLUG": "octo/hello", "TRAVIS_BUILD_ID": "88",
            "TRAVIS_BUILD_WEB_URL": "https://app.travis-ci.com/octo/hello/builds/88", "TRAVIS_JOB_ID": "99",
            "TRAVIS_JOB_NUMBER": "4.1", "TRAVIS_JOB_WEB_URL": "https://app.travis-ci.com/octo/hello/jobs/99",
            "TRAVIS_COMMIT": SHA, "TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "false",
        },
        {
            "cicd.pipeline.name": "octo/hello", "cicd.pipeline.run.id": "88", "cicd.pipeline.task.name": "4.1",
            "cicd.pipeline.run.url.full": "https://app.travis-ci.com/octo/hello/builds/88",
            "cicd.pipeline.task.run.id": "99",
            "cicd.pipeline.task.run.url.full": "https://app.travis-ci.com/octo/hello/jobs/99",
            "vcs.repository.url.full": "https://github.com/octo/hello", "vcs.provider.name": "github",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"TRAVIS_JOB_ID": "100"},
    ),
    "drone": (
        {
            "DRONE": "true", "CI": "drone", "DRONE_REPO": "octo/hello", "DRONE_BUILD_NUMBER": "42",
            "DRONE_SYSTEM_HOST": "drone.example.com", "DRONE_BUILD_LINK": "https://drone.example.com/octo/hello/42",
            "DRONE_STAGE_NAME": "tests", "DRONE_STAGE_NUMBER": "1", "DRONE_REPO_LINK": "https://gitea.example.com/o/h",
            "DRONE_COMMIT_SHA": SHA, "DRONE_BRANCH": "main", "DRONE_STAGE_MACHINE": "runner",
        },
        {
            "cicd.pipeline.name": "octo/hello", "cicd.pipeline.run.id": "42", "cicd.pipeline.task.name": "tests",
            "cicd.pipeline.run.url.full": "https://drone.example.com/octo/hello/42", "cicd.pipeline.task.run.id": "1",
            "cicd.worker.name": "runner", "vcs.repository.url.full": "https://gitea.example.com/o/h",
            "vcs.provider.name": "gitea", "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main",
            "vcs.ref.head.type": "branch",
        },
        {"DRONE_BUILD_NUMBER": "43"},
    ),
    "teamcity": (
        {
            "TEAMCITY_VERSION": "2025.07 (build 197242)", "TEAMCITY_PROJECT_NAME": "App", "BUILD_NUMBER": "17",
            "TEAMCITY_BUILDCONF_NAME": "Unit tests", "BUILD_VCS_NUMBER": SHA, "BUILD_URL": "https://tc.example.com/b/9",
        },
        {
            "cicd.pipeline.name": "Unit tests", "cicd.pipeline.run.id": "17", "cicd.pipeline.task.name": "Unit tests",
            "cicd.pipeline.run.url.full": "https://tc.example.com/b/9", "vcs.ref.head.revision": SHA,
        },
        {"BUILD_NUMBER": "18"},
    ),
    "woodpecker": (
        {
            "CI": "woodpecker", "CI_PIPELINE_NUMBER": "8", "CI_REPO": "octo/hello", "CI_COMMIT_SHA": SHA,
            "CI_PIPELINE_URL": "https://ci.example.com/repos/3/pipeline/8", "CI_COMMIT_BRANCH": "main",
            "CI_REPO_URL": "https://github.com/octo/hello",
        },
        {
            "cicd.pipeline.name": "octo/hello", "cicd.pipeline.run.id": "8",
            "cicd.pipeline.run.url.full": "https://ci.example.com/repos/3/pipeline/8",
            "vcs.repository.url.full": "https://github.com/octo/hello", "vcs.provider.name": "github",
            "vcs.ref.head.revision": SHA, "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch",
        },
        {"CI_PIPELINE_NUMBER": "9"},
    ),
    "unknown": ({"CI": "true", "BUILD_ID": "3"}, {"cicd.pipeline.run.id": "3"}, {"BUILD_ID": "4"}),
}  # fmt: skip


def start(children: Children, env: dict[str, str]) -> dict[str, Any]:
    """Run a program of its own in a job and return its `session.start`."""
    return children.run(["python", "-c", "pass"], env=env).named("session.start")[-1]


def facts_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a `session.start` says of CI."""
    return {name: value for name, value in event["data"].items() if name.startswith(("cicd.", "vcs."))}


@pytest.mark.parametrize("system", JOBS)
def test_processes_of_a_job_share_a_trace_and_tell_its_facts(children: Children, system: str) -> None:
    """Steps of a job are unrelated processes: only the job's own variables tell that they belong together."""
    env, facts, again = JOBS[system]
    first, second, other = (start(children, each) for each in (env, {**env, "STEP": "2"}, {**env, **again}))
    assert facts_of(first) == facts_of(second) == {"cicd.system.name": system, **facts}
    assert first["session"]["trace_id"] == second["session"]["trace_id"] != other["session"]["trace_id"]
    assert first["session"]["id"] != second["session"]["id"]
    assert "parent_span_id" not in first["data"]


def test_trace_of_the_job_itself_counts_more(children: Children) -> None:
    """Where the CI system traces its jobs, ours hang below its own; the facts are recorded all the same."""
    env, facts, _ = JOBS["gitlab"]
    event = start(children, {**env, "TRACEPARENT": TRACEPARENT})
    assert event["session"]["trace_id"] == TRACEPARENT[3:35]
    assert event["data"]["parent_span_id"] == TRACEPARENT[36:52]
    assert facts_of(event) == {"cicd.system.name": "gitlab", **facts}


def test_every_session_of_the_job_tells_its_facts(children: Children) -> None:
    """Who looks for the failures of a run asks for its id, and not for the id of the first process."""
    source = """
        import os, subprocess, sys
        subprocess.run([sys.executable, "-c", "pass"])
        os.environ.clear()
        pid = os.fork()
        pid and os.waitpid(pid, 0)
    """
    env, facts, _ = JOBS["github_actions"]
    done = children.twin(source, env=env)
    starts = done.named("session.start")
    assert sorted(event["data"]["start_method"] for event in starts) == ["exec", "exec", "fork"]
    assert all(facts_of(event) == {"cicd.system.name": "github_actions", **facts} for event in starts)
    assert len({event["session"]["trace_id"] for event in starts}) == 1


def test_job_without_anything_that_tells_its_runs_apart_has_no_common_trace(children: Children) -> None:
    """`CI=true` is set on laptops, too: one trace for all of them would be worse than none."""
    first, second = (start(children, {"CI": "true"}) for _ in range(2))
    assert facts_of(first) == {"cicd.system.name": "unknown"}
    assert first["session"]["trace_id"] != second["session"]["trace_id"]


@pytest.mark.parametrize("value", ["", "false", "0", "False"])
def test_no_job_where_the_variable_says_no(children: Children, value: str) -> None:
    """Some tools switch their CI mode off by `CI=false`."""
    assert facts_of(start(children, {"CI": value, "BUILD_ID": "3"})) == {}


def test_hostile_values_are_harmless(children: Children) -> None:
    """A branch name is chosen by whoever opens a pull request; a URL may hold the token of the clone."""
    env = {
        **JOBS["github_actions"][0],
        "GITHUB_HEAD_REF": "\x1b[2J\n{\"a\":1}\x07" + "b" * 100_000,
        "GITHUB_WORKFLOW": "deploy --password=hunter2 ghp_0123456789abcdefghijABCDEFGHIJ",
        "GITHUB_SERVER_URL": "https://user:hunter2@github.com",
        "RUNNER_NAME": os_name(),
    }  # fmt: skip
    event = start(children, env)
    facts = facts_of(event)
    assert len(facts["vcs.ref.head.name"]) <= 500
    assert facts["vcs.ref.head.name"].startswith('?[2J?{"a":1}?bbb')
    assert facts["vcs.repository.url.full"] == "https://github.com/octo/hello"
    text = json.dumps(event)
    assert "hunter2" not in text and "ghp_0" not in text and "\\u001b" not in text
    assert event["data"]["cicd.worker.name"].startswith("runner")


def os_name() -> str:
    """Return a name with bytes that are no UTF-8, as `os.environ` has them."""
    return b"runner\xff\xfe".decode("utf-8", "surrogateescape")


@given(st.dictionaries(st.sampled_from([name for env, _, _ in JOBS.values() for name in env]), st.text(max_size=700)))
def test_facts_are_short_and_printable_whatever_the_variables_hold(environ: dict[str, str]) -> None:
    """They are on the first line of every session of the job."""
    facts, trace = ci.facts_and_trace(environ)
    assert all(value.isprintable() and 0 < len(value) <= 500 for value in facts.values())
    assert trace is None or len(trace) == 32 and int(trace, 16)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_traces_of_two_jobs_differ_from_end_to_end(one: str, two: str) -> None:
    """Samplers look at the last digits of a trace id only."""
    first, second = (ci.fnv128(text.encode("utf-8", "surrogatepass")) for text in (one, two))
    assert one == two or all(first[i : i + 8] != second[i : i + 8] for i in (0, 8, 16, 24))
