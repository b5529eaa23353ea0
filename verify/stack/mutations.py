"""Breaks the template of a deployed stack in one place at a time. A check must fail, and
pass again after the place is restored.
"""

import concurrent.futures
import copy
import json
import re
import time

import yaml

import checks
from stack import Failed

QUICK = {
    "Api": [checks.check_syncs, checks.check_replay, checks.check_refusals, checks.check_keys, checks.check_runs, checks.check_cancel,
            checks.check_limit, checks.check_cors, checks.check_retention],
    "Relay": [checks.check_events, checks.check_schedules, checks.check_runs],
    "Watch": [checks.check_runs],
    "Intake": [checks.check_create_by_event, checks.check_runs_by_event, checks.check_retention],
    "Reconcile": [checks.check_reconcile],
    "Schedule": [],
    "Table": [],
    "Operator": [checks.check_operator, checks.check_reconcile_command],
    "Bus": [checks.check_bus_guard, checks.check_senders, checks.check_operator, checks.check_create_by_event, checks.check_runs_by_event],
    "Webhook": [checks.check_events, checks.check_create_by_event, checks.check_runs, checks.check_runs_by_event, checks.check_cancel,
                checks.check_operator, checks.check_refused],
}
SLOW = {
    "Api": [checks.check_logs],
    "Relay": [checks.check_logs, checks.check_watch, checks.check_outage, checks.check_expiry],
    "Table": [checks.check_expiry],
    "Watch": [checks.check_given_up, checks.check_watch],
    "Intake": [checks.check_logs, checks.check_unqueued, checks.check_given_up, checks.check_due],
    "Reconcile": [checks.check_logs, checks.check_lost_watch, checks.check_daily],
    "Schedule": [checks.check_due, checks.check_undelivered],
    "Operator": [checks.check_replay_command, checks.check_refused, checks.check_set_aside, checks.check_lost_runs_command,
                 checks.check_undelivered],
    "Bus": [checks.check_due],
    "Webhook": [checks.check_due],
}

# What no check can see, and why.
UNSEEN = {
    r"Role: no xray:": "the emulator has no X-Ray",
    r"variable AWS_ENDPOINT_URL_\w+ renamed": "it is empty outside of sam local",
    r"variable GO(GC|MAXPROCS) renamed": "it changes the speed and not what is done",
}

# The parameters without which a mutation makes no difference, and the check that sees it.
SPECIAL = {
    r"Function: variable API_URL renamed": (lambda stack: {"ApiUrl": f"https://{stack.name}.example.com/syncplane"}, checks.check_address),
    r"variable TOKEN_JWKS renamed": (lambda stack: {"TokenJwks": stack.webhook.keys, "TokenJwksUrl": ""}, checks.check_syncs),
    r"variable TOKEN_WORKSPACE_CLAIM renamed": (lambda stack: {"WorkspaceClaim": "sub"}, checks.check_claim),
    r"variable RECONCILE_RATE renamed": (lambda stack: {"ReconcileRate": "20"}, checks.check_rate),
    r"variable TOKEN_ISSUERS renamed": (lambda stack: {
        "TokenIssuers": json.dumps([{"issuer": "syncplane-local", "audience": "syncplane", "jwks_url": stack.parameters["TokenJwksUrl"]}]),
        "TokenIssuer": "", "TokenAudience": "", "TokenJwksUrl": ""}, checks.check_syncs),
}


class Mutant:
    def __init__(self, name, change):
        self.name, self.change = name, change
        self.area = next(area for area in QUICK if name.startswith(area))
        self.reason = next((why for pattern, why in UNSEEN.items() if re.search(pattern, name)), None)
        self.parameters, self.check = next((v for pattern, v in SPECIAL.items() if re.search(pattern, name)), (lambda stack: {}, None))


def listed(value):
    return value if isinstance(value, list) else [value]


def short(value):
    """Returns a text for a string or a reference."""
    if isinstance(value, str):
        return value
    inner = next(iter(value.values()))
    return inner if isinstance(inner, str) else ".".join(map(short, inner[:2]))


def mutants(template):
    """Yields all mutants of a template."""
    for name, resource in template["Resources"].items():
        make = {
            "AWS::IAM::Role": role, "AWS::IAM::ManagedPolicy": managed_policy, "AWS::Serverless::Function": function, "AWS::Events::Rule": rule,
            "AWS::Events::EventBusPolicy": bus_policy, "AWS::SQS::QueuePolicy": queue_policy,
            "AWS::Lambda::EventSourceMapping": mapping, "AWS::DynamoDB::Table": table, "AWS::SQS::Queue": queue,
        }.get(resource["Type"])
        if make and name != "DeploymentRole":  # the emulator has no CodeDeploy
            for what, change in make(resource["Properties"]):
                def applied(copied, name=name, change=change):
                    change(copied["Resources"][name]["Properties"])
                yield Mutant(f"{name}: {what}", applied)


def role(properties):
    def other_service(p):
        p["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"] = "other.amazonaws.com"
    yield "trusts another service", other_service
    for i, policy in enumerate(properties["Policies"]):
        yield from permissions(policy["PolicyDocument"], lambda p, i=i: p["Policies"][i]["PolicyDocument"])


def managed_policy(properties):
    yield from permissions(properties["PolicyDocument"], lambda p: p["PolicyDocument"])


def permissions(document, document_of):
    """Yields a mutant without each action, and without each of several resources."""
    for j, statement in enumerate(document["Statement"]):
        if "Fn::If" in statement:  # that for a key of the table, which is not used
            continue
        for field, what in ("Action", "no {}"), ("Resource", "{} without one of its resources, {}"):
            values = listed(statement[field])
            for k, value in enumerate(values):
                if field == "Resource" and len(values) == 1:
                    continue

                def without(p, j=j, k=k, field=field):
                    statements = document_of(p)["Statement"]
                    left = listed(statements[j][field])
                    del left[k]
                    if left:
                        statements[j][field] = left
                    else:
                        del statements[j]
                text = short(value)
                yield (what.format(text) if field == "Action" else what.format(listed(statement["Action"])[0], text)), without


def function(properties):
    for variable in properties["Environment"]["Variables"]:
        def renamed(p, variable=variable):
            p["Environment"]["Variables"]["X_" + variable] = p["Environment"]["Variables"].pop(variable)
        yield f"variable {variable} renamed", renamed


def mapping(properties):
    yield "of another function", lambda p: p.update(FunctionName={"Ref": "ApiFunction"})
    for i, found in enumerate(properties.get("FilterCriteria", {}).get("Filters", [])):
        for part in re.findall(r'"[A-Z]+#"', found["Pattern"]):
            def wrong(p, i=i, part=part):
                filters = p["FilterCriteria"]["Filters"]
                filters[i]["Pattern"] = filters[i]["Pattern"].replace(part, '"X' + part[1:])
            yield f"another prefix than {part}", wrong
        pattern = json.loads(found["Pattern"])
        for part in pattern["dynamodb"].keys() - {"Keys"}:
            def without(p, i=i, pattern=pattern, part=part):
                left = {k: v for k, v in pattern["dynamodb"].items() if k != part}
                p["FilterCriteria"]["Filters"][i]["Pattern"] = json.dumps({"dynamodb": left})
            yield f"a filter without {part}", without
    if "DestinationConfig" in properties:
        yield "no queue for failures", lambda p: p.pop("DestinationConfig")


def queue(properties):
    if "RedrivePolicy" in properties:
        yield "a thousand attempts", lambda p: p["RedrivePolicy"].update(maxReceiveCount=1000)


def table(properties):
    yield "another attribute for the time to live", lambda p: p["TimeToLiveSpecification"].update(AttributeName="expires")


def rule(properties):
    for i, kind in enumerate(properties["EventPattern"]["detail-type"]):
        def renamed(p, i=i):
            p["EventPattern"]["detail-type"][i] += "s"
        yield f"detail-type {kind} misspelled", renamed
    yield "disabled", lambda p: p.update(State="DISABLED")
    for i, target in enumerate(properties["Targets"]):
        if "DeadLetterConfig" in target:
            yield "no dead-letter queue", lambda p, i=i: p["Targets"][i].pop("DeadLetterConfig")


def bus_policy(properties):
    for operator, keys in properties["Statement"]["Condition"].items():
        for key, values in keys.items():
            for i, value in enumerate(listed(values)):
                if not isinstance(values, list):  # a parameter
                    continue

                def without(p, operator=operator, key=key, i=i):
                    del p["Statement"]["Condition"][operator][key][i]
                yield f"{key} without {short(value)}", without
    yield "denies another action", lambda p: p["Statement"].update(Action="events:PutRule")


def queue_policy(properties):
    for i, statement in enumerate(properties["PolicyDocument"]["Statement"]):
        if statement["Effect"] == "Allow":
            yield "no permission to send", lambda p, i=i: p["PolicyDocument"]["Statement"].pop(i)


class Stage:
    """A stack on which one mutant at a time is tried."""

    def __init__(self, stack, template=None):
        """Takes a deployed stack, or creates one from a template that sam has packaged."""
        self.stack, self.formation, self.template = stack, stack.client("cloudformation"), template
        if template is None:
            body = self.formation.get_template(StackName=stack.name, TemplateStage="Original")["TemplateBody"]
            self.template = body if isinstance(body, dict) else yaml.safe_load(body)
        else:
            self.apply(self.formation.create_stack, template)

    def apply(self, operation, template):
        """Creates or updates the stack."""
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.stack.parameters.items()]
        objects, key = self.stack.client("s3"), self.stack.name + ".json"  # the text of a template has at most 51,200 bytes
        bucket = objects.list_buckets()["Buckets"][0]["Name"]  # that of sam
        objects.put_object(Bucket=bucket, Key=key, Body=json.dumps(template))
        operation(StackName=self.stack.name, TemplateURL=f"{self.stack.emulator.url}/{bucket}/{key}", Parameters=parameters,
                  Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        while (status := self.formation.describe_stacks(StackName=self.stack.name)["Stacks"][0]["StackStatus"]).endswith("IN_PROGRESS"):
            time.sleep(0.05)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise Failed(f"{status}\n{self.stack.failures()}")
        self.stack.describe()

    def update(self, template, parameters):
        """Updates the stack, with other values of some parameters."""
        before = self.stack.parameters
        self.stack.parameters = {**before, **parameters}
        try:
            self.apply(self.formation.update_stack, template)
        except BaseException:
            self.stack.parameters = before
            raise
        return before

    def failing(self, functions):
        """Returns the first of the checks that fails, and how."""
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            futures = {threads.submit(f, self.stack): f for f in functions}
            for done in concurrent.futures.as_completed(futures):
                if done.exception():
                    threads.shutdown(wait=False, cancel_futures=True)
                    return futures[done], done.exception()
        return None, None

    def attempt(self, mutant):
        """Tries a mutant. Returns a line about it, and whether the result is the expected one."""
        changed = copy.deepcopy(self.template)
        mutant.change(changed)
        parameters = mutant.parameters(self.stack)
        before = self.update(changed, parameters)
        try:
            quick = QUICK[mutant.area] if mutant.check is None else [mutant.check]
            check, why = self.failing(quick)
            rest = SLOW[mutant.area]
            if check is not None:  # perhaps because of the checks beside it
                check, why = self.failing([check])
                rest = [*quick, *rest]
            for one in rest:
                if check is None:
                    check, why = self.failing([one])
            self.update(self.template, parameters)
            if check is None:
                return f"MISSED  {mutant.name}", False
            _, still = self.failing([check])
            if still is not None:
                return f"UNSURE  {mutant.name}: {check.__name__} fails without the mutation, too: {still}", False
            lines = str(why).splitlines()  # of a command the first and the last say what failed
            return f"failed  {mutant.name}: {check.__name__}: {' ... '.join(line[:100] for line in dict.fromkeys([lines[0], lines[-1]]))}", True
        finally:
            self.stack.parameters = before
            if parameters:
                self.update(self.template, {})
