"""Cold: the CI job that a process belongs to, told by the variables that CI systems set. Builtin modules only.

Guarantees: a process outside of a job gets nothing from here. Facts are short, printable, and hold no credentials. The
trace id depends on nothing but variables that are the same in all processes of one run of one job, and in no other.
"""

from . import cold, redact

MAX_CHARS = 500
PIPELINE, RUN, RUN_URL = "cicd.pipeline.name", "cicd.pipeline.run.id", "cicd.pipeline.run.url.full"
JOB, JOB_RUN, JOB_URL = "cicd.pipeline.task.name", "cicd.pipeline.task.run.id", "cicd.pipeline.task.run.url.full"
WORKER, PROVIDER, REPOSITORY = "cicd.worker.name", "vcs.provider.name", "vcs.repository.url.full"
COMMIT, REF, REF_TYPE = "vcs.ref.head.revision", "vcs.ref.head.name", "vcs.ref.head.type"
BASE, CHANGE = "vcs.ref.base.name", "vcs.change.id"
SYSTEM = "cicd.system.name"
"""The one name that OpenTelemetry's conventions (1.43) do not have."""

# For each system: its name; the variable that tells it; facts, each with where it stands, the first that is there
# counts, and `{A}` in a text stands for a variable; and what makes its runs of jobs different, the first needed.
# After the systems' own documentation, 2026. OpenTelemetry's names: semantic conventions 1.43, cicd and vcs.
SYSTEMS = (
    ("github_actions", "GITHUB_ACTIONS", {
        PIPELINE: "GITHUB_WORKFLOW", RUN: "GITHUB_RUN_ID",
        RUN_URL: "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT} "
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        JOB: "GITHUB_JOB", WORKER: "RUNNER_NAME", REPOSITORY: "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}",
        COMMIT: "GITHUB_SHA", REF: "GITHUB_HEAD_REF GITHUB_REF_NAME", REF_TYPE: "GITHUB_REF_TYPE",
        BASE: "GITHUB_BASE_REF",
    }, "GITHUB_RUN_ID GITHUB_RUN_ATTEMPT GITHUB_JOB GITHUB_SERVER_URL GITHUB_REPOSITORY RUNNER_NAME"),
    ("gitlab", "GITLAB_CI", {
        PIPELINE: "CI_PIPELINE_NAME CI_PROJECT_PATH", RUN: "CI_PIPELINE_ID", RUN_URL: "CI_PIPELINE_URL",
        JOB: "CI_JOB_NAME", JOB_RUN: "CI_JOB_ID", JOB_URL: "CI_JOB_URL", WORKER: "CI_RUNNER_DESCRIPTION",
        REPOSITORY: "CI_PROJECT_URL", COMMIT: "CI_COMMIT_SHA",
        REF: "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME CI_COMMIT_REF_NAME", BASE: "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
        CHANGE: "CI_MERGE_REQUEST_IID",
    }, "CI_JOB_ID CI_SERVER_URL CI_PROJECT_ID"),
    ("circleci", "CIRCLECI", {
        PIPELINE: "CIRCLE_PROJECT_REPONAME", RUN: "CIRCLE_WORKFLOW_ID",
        RUN_URL: "https://app.circleci.com/pipelines/workflows/{CIRCLE_WORKFLOW_ID} CIRCLE_BUILD_URL",
        JOB: "CIRCLE_JOB", JOB_RUN: "CIRCLE_WORKFLOW_JOB_ID CIRCLE_BUILD_NUM", JOB_URL: "CIRCLE_BUILD_URL",
        REPOSITORY: "CIRCLE_REPOSITORY_URL", COMMIT: "CIRCLE_SHA1", REF: "CIRCLE_TAG CIRCLE_BRANCH",
        CHANGE: "CIRCLE_PR_NUMBER",
    }, "CIRCLE_BUILD_NUM CIRCLE_WORKFLOW_JOB_ID CIRCLE_WORKFLOW_ID CIRCLE_NODE_INDEX CIRCLE_BUILD_URL"),
    ("buildkite", "BUILDKITE", {
        PIPELINE: "BUILDKITE_PIPELINE_NAME BUILDKITE_PIPELINE_SLUG", RUN: "BUILDKITE_BUILD_ID",
        RUN_URL: "BUILDKITE_BUILD_URL", JOB: "BUILDKITE_LABEL BUILDKITE_STEP_KEY", JOB_RUN: "BUILDKITE_JOB_ID",
        JOB_URL: "{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}", WORKER: "BUILDKITE_AGENT_NAME",
        REPOSITORY: "BUILDKITE_REPO", COMMIT: "BUILDKITE_COMMIT", REF: "BUILDKITE_TAG BUILDKITE_BRANCH",
        BASE: "BUILDKITE_PULL_REQUEST_BASE_BRANCH", CHANGE: "BUILDKITE_PULL_REQUEST",
    }, "BUILDKITE_JOB_ID BUILDKITE_BUILD_ID"),
    ("bitbucket_pipelines", "BITBUCKET_BUILD_NUMBER", {
        PIPELINE: "BITBUCKET_REPO_FULL_NAME", RUN: "BITBUCKET_PIPELINE_UUID BITBUCKET_BUILD_NUMBER",
        RUN_URL: "{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
        JOB_RUN: "BITBUCKET_STEP_UUID", REPOSITORY: "BITBUCKET_GIT_HTTP_ORIGIN", COMMIT: "BITBUCKET_COMMIT",
        REF: "BITBUCKET_TAG BITBUCKET_BRANCH", BASE: "BITBUCKET_PR_DESTINATION_BRANCH", CHANGE: "BITBUCKET_PR_ID",
    }, "BITBUCKET_BUILD_NUMBER BITBUCKET_REPO_FULL_NAME BITBUCKET_PIPELINE_UUID BITBUCKET_STEP_UUID "
       "BITBUCKET_STEP_RUN_NUMBER BITBUCKET_PARALLEL_STEP"),
    ("travis", "TRAVIS", {
        PIPELINE: "TRAVIS_REPO_SLUG", RUN: "TRAVIS_BUILD_ID", RUN_URL: "TRAVIS_BUILD_WEB_URL",
        JOB: "TRAVIS_JOB_NAME TRAVIS_JOB_NUMBER", JOB_RUN: "TRAVIS_JOB_ID", JOB_URL: "TRAVIS_JOB_WEB_URL",
        REPOSITORY: "https://github.com/{TRAVIS_REPO_SLUG}", COMMIT: "TRAVIS_PULL_REQUEST_SHA TRAVIS_COMMIT",
        REF: "TRAVIS_TAG TRAVIS_PULL_REQUEST_BRANCH TRAVIS_BRANCH", CHANGE: "TRAVIS_PULL_REQUEST",
    }, "TRAVIS_JOB_ID TRAVIS_BUILD_ID TRAVIS_REPO_SLUG"),
    ("drone", "DRONE", {
        PIPELINE: "DRONE_REPO", RUN: "DRONE_BUILD_NUMBER", RUN_URL: "DRONE_BUILD_LINK", JOB: "DRONE_STAGE_NAME",
        JOB_RUN: "DRONE_STAGE_NUMBER", WORKER: "DRONE_STAGE_MACHINE", REPOSITORY: "DRONE_REPO_LINK DRONE_GIT_HTTP_URL",
        COMMIT: "DRONE_COMMIT_SHA", REF: "DRONE_TAG DRONE_SOURCE_BRANCH DRONE_BRANCH", BASE: "DRONE_TARGET_BRANCH",
        CHANGE: "DRONE_PULL_REQUEST",
    }, "DRONE_BUILD_NUMBER DRONE_SYSTEM_HOST DRONE_REPO DRONE_STAGE_NUMBER DRONE_STAGE_NAME"),
    ("teamcity", "TEAMCITY_VERSION", {
        PIPELINE: "TEAMCITY_BUILDCONF_NAME", RUN: "BUILD_NUMBER", RUN_URL: "BUILD_URL",
        JOB: "TEAMCITY_BUILDCONF_NAME", COMMIT: "BUILD_VCS_NUMBER",
    }, "BUILD_NUMBER TEAMCITY_PROJECT_NAME TEAMCITY_BUILDCONF_NAME BUILD_URL TEAMCITY_BUILD_PROPERTIES_FILE"),
    ("azure_pipelines", "TF_BUILD", {
        PIPELINE: "BUILD_DEFINITIONNAME", RUN: "BUILD_BUILDID",
        RUN_URL: "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID} "
        "{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
        JOB: "SYSTEM_JOBDISPLAYNAME SYSTEM_JOBNAME", JOB_RUN: "SYSTEM_JOBID", WORKER: "AGENT_NAME",
        REPOSITORY: "BUILD_REPOSITORY_URI", COMMIT: "BUILD_SOURCEVERSION",
        REF: "SYSTEM_PULLREQUEST_SOURCEBRANCH BUILD_SOURCEBRANCH", BASE: "SYSTEM_PULLREQUEST_TARGETBRANCH",
        CHANGE: "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER SYSTEM_PULLREQUEST_PULLREQUESTID",
    }, "BUILD_BUILDID SYSTEM_COLLECTIONURI SYSTEM_TEAMFOUNDATIONCOLLECTIONURI SYSTEM_JOBID SYSTEM_JOBATTEMPT "
       "SYSTEM_PHASEATTEMPT SYSTEM_STAGEATTEMPT"),
    ("jenkins", "JENKINS_URL", {
        PIPELINE: "JOB_NAME", RUN: "BUILD_NUMBER BUILD_ID", RUN_URL: "BUILD_URL RUN_DISPLAY_URL", JOB: "STAGE_NAME",
        WORKER: "NODE_NAME", REPOSITORY: "GIT_URL GIT_URL_1", COMMIT: "GIT_COMMIT",
        REF: "TAG_NAME CHANGE_BRANCH BRANCH_NAME GIT_BRANCH", BASE: "CHANGE_TARGET", CHANGE: "CHANGE_ID",
    }, "BUILD_TAG JENKINS_URL JOB_NAME BUILD_NUMBER BUILD_ID"),
    ("", "CI", {
        PIPELINE: "CI_PIPELINE_NAME CI_WORKFLOW_NAME JOB_NAME CI_REPO",
        RUN: "CI_PIPELINE_NUMBER CI_PIPELINE_ID CI_BUILD_ID CI_BUILD_NUMBER CODEBUILD_BUILD_ID SEMAPHORE_WORKFLOW_ID "
        "APPVEYOR_BUILD_ID CIRRUS_BUILD_ID CF_BUILD_ID BUILD_ID BUILD_NUMBER",
        RUN_URL: "CI_PIPELINE_URL CI_BUILD_URL CF_BUILD_URL BUILD_URL", JOB: "CI_JOB_NAME SEMAPHORE_JOB_NAME",
        JOB_RUN: "CI_JOB_ID SEMAPHORE_JOB_ID APPVEYOR_JOB_ID CIRRUS_TASK_ID", JOB_URL: "CI_JOB_URL",
        REPOSITORY: "CI_REPO_URL CI_PROJECT_URL CODEBUILD_SOURCE_REPO_URL SEMAPHORE_GIT_URL GIT_URL",
        COMMIT: "CI_COMMIT_SHA CODEBUILD_RESOLVED_SOURCE_VERSION SEMAPHORE_GIT_SHA APPVEYOR_REPO_COMMIT "
        "CIRRUS_CHANGE_IN_REPO CF_REVISION GIT_COMMIT",
        REF: "CI_COMMIT_TAG CI_COMMIT_SOURCE_BRANCH CI_COMMIT_BRANCH CI_COMMIT_REF_NAME SEMAPHORE_GIT_BRANCH "
        "APPVEYOR_REPO_BRANCH CIRRUS_BRANCH CF_BRANCH GIT_BRANCH BRANCH_NAME",
    }, ""),
)  # fmt: skip
OFF = ("", "0", "false", "no", "off")
_TAGS = "CI_COMMIT_TAG CIRCLE_TAG BUILDKITE_TAG BITBUCKET_TAG TRAVIS_TAG DRONE_TAG TAG_NAME"
_PROVIDERS = {"github.": "github", "gitlab.": "gitlab", "bitbucket.": "bitbucket", "gitea.": "gitea"}
_URLS = (RUN_URL, JOB_URL, REPOSITORY)
_PREFIXES = ("refs/heads/", "refs/tags/", "refs/", "origin/")


def facts_and_trace(environ):
    """Return the facts of the job for `session.start`, and its trace id, None where nothing tells its runs apart."""
    row = next((row for row in SYSTEMS if is_there(row[0], row[1], environ)), None)
    if row is None:
        return {}, None
    system, _, places, key = row
    facts = {SYSTEM: clean(system or other_system(environ))}
    for name, candidates in places.items():
        value = clean(first(candidates, environ), name in _URLS)
        if value and value != "false":  # Buildkite and Travis say so where there is no pull request
            facts[name] = value
    add_ref_type(facts, environ)
    add_provider(facts)
    return facts, trace_of(system, key or places[JOB_RUN] + " " + places[RUN], environ, not key)


def is_there(system, mark, environ):
    """True in a job of this system. A Jenkins whose address nobody has set is told by the names of its builds."""
    is_tagged = system == "jenkins" and environ.get("BUILD_TAG", "").startswith("jenkins-")
    return is_tagged or environ.get(mark, "").strip().lower() not in OFF


def other_system(environ):
    """Return the name of a system that is not in the table, if it says one."""
    name = environ.get("CI_NAME") or environ.get("CI_SYSTEM_NAME") or environ["CI"]
    return "unknown" if name.strip().lower() in ("true", "1", "yes", "on") else name


def first(candidates, environ):
    """Return the first that is there: the value of a variable, or a text whose variables all have one; else ""."""
    for candidate in candidates.split(" "):
        value = fill(candidate, environ) if "{" in candidate else environ.get(candidate, "")
        if value.strip():
            return value
    return ""


def fill(text, environ):
    """Put the values of variables into a text; "" when one is missing."""
    parts = text.split("{")
    filled = parts[0]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        value = environ.get(name, "")
        if not value:
            return ""
        filled += value[:MAX_CHARS] + rest
    return filled


def clean(value, is_url=False):
    """Return a value that may be recorded: without credentials and control characters, and not too long."""
    value = value[: 2 * MAX_CHARS].strip()
    if not value.isprintable():
        value = "".join([character if character.isprintable() else "?" for character in value])
    value = without_userinfo(value) if is_url else value
    return (cold("cleaning").clean_text(value) if redact.is_suspicious(value) else value)[:MAX_CHARS]


def without_userinfo(url):
    """Return a URL without user and password, and without the `.git` at its end."""
    scheme, sign, rest = url.partition("://")
    if sign:
        end = min([place for place in map(rest.find, "/?#") if place >= 0], default=len(rest))
        url = scheme + sign + rest[:end].rpartition("@")[2] + rest[end:]
    return url.removesuffix(".git")


def add_ref_type(facts, environ):
    """Say whether the reference is a branch or a tag, and give it its short name."""
    reference = facts.get(REF)
    if reference is None:
        return
    if REF_TYPE not in facts:
        is_tag = reference.startswith("refs/tags/") or first(_TAGS, environ).strip() == reference
        facts[REF_TYPE] = "tag" if is_tag else "branch"
    for name in (REF, BASE):
        for prefix in _PREFIXES:
            if name in facts and facts[name].startswith(prefix):
                facts[name] = facts[name][len(prefix) :] or facts[name]
                break


def add_provider(facts):
    """Name who hosts the repository, where the address says it."""
    host = (
        facts.get(REPOSITORY, "").partition("://")[2].partition("/")[0] or facts.get(REPOSITORY, "").partition("@")[2]
    )
    for beginning, provider in _PROVIDERS.items():
        if host.startswith(beginning):
            facts[PROVIDER] = provider


def trace_of(system, key, environ, is_any):
    """Return 32 hex digits that stand for this run of this job; None where the variable that tells runs apart (the
    first; `is_any`: each) is missing.
    """
    names = key.split(" ")
    values = [environ.get(name, "")[:MAX_CHARS] for name in names]
    if not (any(values) if is_any else values[0]):
        return None
    return fnv128("\0".join(["monitor_auto", system, *values]).encode("utf-8", "surrogatepass"))


def fnv128(data):
    """Return the FNV-1a hash (128 bit) of some bytes as hex digits. No builtin module has a hash function that is the
    same everywhere. The trailing bytes let the last ones of the data reach every digit of it.
    """
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in data + bytes(16):
        value = (value ^ byte) * 0x0000000001000000000000000000013B & ((1 << 128) - 1)
    return "%032x" % value
