"""Starts MiniStack on 127.0.0.1 with additions for what template.yaml needs.

MiniStack deploys a CloudFormation template and runs its functions as processes,
with the permissions of their roles. Each function below whose name begins with
patch_ closes one gap; its comment names the gap. Nothing here knows Syncplane.

The environment holds MiniStack's own settings: AUTH, USE_SSL, GATEWAY_PORT and so
on (see start in stack.py).
"""

import copy
import datetime
import http.client
import json
import os
import ssl
import sys
import threading
import time
import urllib.parse

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region
from ministack.services import apigateway, dynamodb, dynamodb_streams, eventbridge, iam, lambda_svc, scheduler, sqs, stepfunctions
from ministack.services.cloudformation import provisioners


def log(line):
    """Writes a line to the log, at once, so that those of several threads do not mix."""
    os.write(1, (line + "\n").encode())


# --- Permissions of a role that a service assumes


def role_name(arn):
    return arn.split(":", 5)[5].split("/")[1]


def context(action, resource, principal="*", **keys):
    keys = {name.lower(): value for name, value in keys.items()}
    return iam_evaluator.EvalContext(
        principal_arn=principal, principal_type="AssumedRole", principal_account=get_account_id(), action=action,
        resource_arn=resource, region=get_region(), secure_transport=True, service_context=keys)


def trusts(role_arn, service, source_arn):
    """Reports whether a service may assume a role on behalf of a resource."""
    role = iam._roles.get(role_name(role_arn)) or {}
    document = role.get("AssumeRolePolicyDocument") or "{}"
    if isinstance(document, str):
        document = json.loads(document)
    keys = {"aws:SourceAccount": get_account_id(), "aws:SourceArn": source_arn}
    ctx = context("sts:AssumeRole", role_arn, **keys)
    return iam_evaluator.evaluate_resource_policy(
        {"Statement": [{**s, "Resource": "*"} for s in document.get("Statement", [])]}, ctx, service=service,
    ).decision == "Allow"


def permits(role_arn, action, resource, **keys):
    """Reports whether the policies of a role and of a resource permit an action."""
    name = role_name(role_arn)
    ctx = context(action, resource, f"arn:aws:sts::{get_account_id()}:assumed-role/{name}/service", **keys)
    result = iam_evaluator.evaluate(ctx, iam_evaluator._gather_role_policies(name, get_account_id()))
    found = iam_evaluator._resource_policy(action.split(":")[0], resource)
    if found is not None:
        result = iam_evaluator.combine_resource_policy(result, ctx, *found)
    if result.decision != "Allow":
        log(f"denied: {role_arn} {action} {resource}")
    return result.decision == "Allow"


def accepts(resource, action, service, source_arn):
    """Reports whether the policy of a resource lets a service act on behalf of another resource."""
    policy, _ = iam_evaluator._resource_policy(action.split(":")[0], resource) or ("", "")
    keys = {"aws:SourceAccount": get_account_id(), "aws:SourceArn": source_arn}
    allowed = iam_evaluator.evaluate_resource_policy(policy, context(action, resource, **keys), service=service).decision == "Allow"
    if not allowed:
        log(f"denied: {source_arn} {action} {resource}")
    return allowed


def bus_policy_decision(bus, principal, detail_type):
    """Returns what the policy of a bus decides about an event of this type."""
    if ":assumed-role/" in principal:  # the condition key aws:PrincipalArn is the role
        principal = f"arn:aws:iam::{principal.split(':')[4]}:role/{role_name(principal)}"
    arn = f"arn:aws:events:{get_region()}:{get_account_id()}:event-bus/{bus}"
    ctx = context("events:PutEvents", arn, principal, **{"events:detail-type": detail_type})
    return iam_evaluator.evaluate_resource_policy(eventbridge._event_bus_policies.get(bus), ctx).decision


def dead_letter(target, event, rule):
    """Puts an event into the dead-letter queue of a target, if there is one that takes it."""
    queue = target.get("DeadLetterConfig", {}).get("Arn")
    if queue and accepts(queue, "sqs:SendMessage", "events.amazonaws.com", rule["Arn"]):
        text = json.dumps(eventbridge._pattern_event_view(event).event_with_detail())
        eventbridge._dispatch_to_sqs(eventbridge.parse_arn(queue), text)


# --- Patches


def patch_listeners():
    # MiniStack also listens on port 443 if it may.
    app._port_is_bindable = lambda host, port: False


def patch_bus_policies():
    # AWS::Events::EventBusPolicy is unknown, no policy of a bus is evaluated, and no other
    # account can put events on it.
    def create(logical_id, props, stack_name):
        policy = eventbridge._event_bus_policies.setdefault(props["EventBusName"], {"Version": "2012-10-17", "Statement": []})
        policy["Statement"] = [s for s in policy["Statement"] if s["Sid"] != props["StatementId"]]
        policy["Statement"].append({**copy.deepcopy(props["Statement"]), "Sid": props["StatementId"]})
        return f"{props['EventBusName']}|{props['StatementId']}", {}

    def delete(physical_id, props):
        eventbridge._remove_permission({"EventBusName": props["EventBusName"], "StatementId": props["StatementId"]})

    def update(physical_id, old, new, stack_name, logical_id=None):
        delete(physical_id, old)
        return create(logical_id, new, stack_name)

    provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {"create": create, "update": update, "delete": delete}

    put = eventbridge._put_events

    def put_events(data, allow_aws_source=False):
        caller, mine = iam_evaluator.caller_arn(), get_account_id()
        try:
            for entry in data.get("Entries", []):
                name = entry.get("EventBusName", "default")
                owner = name.split(":")[4] if name.startswith("arn:") else mine
                set_request_account_id(owner)
                decision = bus_policy_decision(name.rsplit("/", 1)[-1], caller, entry.get("DetailType", ""))
                if decision == "Deny" or owner != mine and decision != "Allow":
                    return eventbridge.error_response_json(
                        "AccessDeniedException", f"{caller} is not authorized to perform events:PutEvents on {name}", 400)
            return put(data, allow_aws_source)
        finally:
            set_request_account_id(mine)

    eventbridge._put_events = put_events


def through_api(kind, create, delete, physical, attributes):
    """Returns the handlers of a resource type that the service has, but not its templates."""
    def body(props, name):
        return {**props, "Name": name}

    def do_create(logical_id, props, stack_name):
        name = props.get("Name") or provisioners._physical_name(stack_name, logical_id, max_len=64)
        status, _, answer = create(body(props, name))
        if status >= 400:
            raise ValueError(f"{kind}: {answer!r}")
        return name, attributes(json.loads(answer), name)

    def do_update(physical_id, old, new, stack_name, logical_id=None):
        delete({"Name": physical_id})
        return do_create(logical_id, {**new, "Name": physical_id}, stack_name)

    return {"create": do_create, "update": do_update, "delete": lambda physical_id, props: delete({"Name": physical_id})}


def patch_api_destinations():
    # AWS::Events::Connection and AWS::Events::ApiDestination are unknown. Neither the role
    # of a rule's target nor the policy of a queue is evaluated.
    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::Events::Connection"] = through_api(
        "AWS::Events::Connection", eventbridge._create_connection, eventbridge._delete_connection, "Name",
        lambda answer, name: {"Arn": answer["ConnectionArn"], "ArnForPolicy": answer["ConnectionArn"]})
    handlers["AWS::Events::ApiDestination"] = through_api(
        "AWS::Events::ApiDestination", eventbridge._create_api_destination, eventbridge._delete_api_destination, "Name",
        lambda answer, name: {"Arn": answer["ApiDestinationArn"], "ArnForPolicy": answer["ApiDestinationArn"]})

    invoke = eventbridge._invoke_target

    def invoke_target(target, event, rule, view=None):
        arn, rule_arn = target.get("Arn", ""), rule.get("Arn", "")
        if ":api-destination/" in arn and not (
                trusts(target["RoleArn"], "events.amazonaws.com", rule_arn)
                and permits(target["RoleArn"], "events:InvokeApiDestination", arn)):
            return
        if ":sqs:" in arn and not accepts(arn, "sqs:SendMessage", "events.amazonaws.com", rule_arn):
            dead_letter(target, event, rule)
            return
        invoke(target, event, rule, view)

    eventbridge._invoke_target = invoke_target


def patch_dead_letters():
    # An event that an API destination refuses is dropped, and not put into the dead-letter
    # queue of the target. One that the destination may accept later is dropped, too; AWS
    # sends it again for a day.
    invoke, build, send = eventbridge._invoke_target, eventbridge._build_api_destination_request, eventbridge._api_destination_send_sync
    invoked = threading.local()

    def invoke_target(target, event, rule, view=None):
        invoked.delivery = target, event, rule
        invoke(target, event, rule, view)

    def build_request(*args):
        return {**build(*args), "delivery": invoked.delivery}

    def send_sync(request, headers):
        status = send(request, headers)
        target, event, rule = request["delivery"]
        if 400 <= status < 500 and status not in (401, 407, 409, 429):
            region, account = rule["Arn"].split(":")[3:5]
            set_request_account_id(account)
            set_request_region(region)
            dead_letter(target, event, rule)
        return status

    eventbridge._invoke_target = invoke_target
    eventbridge._build_api_destination_request, eventbridge._api_destination_send_sync = build_request, send_sync


def patch_move_tasks():
    # StartMessageMoveTask is unknown. The messages move at once, and those that a consumer
    # has received and not deleted stay.
    def start(data, _):
        source, destination = (sqs._queue_by_arn(data.get(name, "")) for name in ("SourceArn", "DestinationArn"))
        if source is None or destination is None:
            raise sqs._Err("ResourceNotFoundException", "The resource that you specified for the SourceArn or DestinationArn parameter doesn't exist.")
        policies = [json.loads(q["attributes"].get("RedrivePolicy") or "{}") for q in sqs._queues.values()]
        if data["SourceArn"] not in [p.get("deadLetterTargetArn") for p in policies]:
            raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        with sqs._queues_lock:
            now = time.time()
            moved = [m for m in source["messages"] if m["visible_at"] <= now]
            source["messages"] = [m for m in source["messages"] if m["visible_at"] > now]
        for m in moved:
            sqs._act_send_message({"MessageBody": m["body"], "MessageAttributes": m["message_attributes"]}, destination["url"])
        return {"TaskHandle": "task"}
    sqs._HANDLERS["StartMessageMoveTask"] = start


def patch_http_tasks():
    # The task arn:aws:states:::http:invoke is unknown. Only the APIs of the emulator can be
    # called. The policy of the state machine's role is not evaluated.
    def invoke(resource, arguments):
        name = arguments["Authentication"]["ConnectionArn"].split("/")[1]
        url = urllib.parse.urlsplit(arguments["ApiEndpoint"])
        headers = {**eventbridge._connection_auth_headers(eventbridge._connections[name], None), **arguments.get("Headers", {}),
                   "Content-Type": "application/json", "Host": url.netloc}
        tls = ssl.create_default_context(cafile=os.environ["MINISTACK_SSL_CERT"])
        server = http.client.HTTPSConnection("127.0.0.1", int(os.environ["GATEWAY_PORT"]), timeout=60, context=tls)
        try:
            server.request(arguments["Method"], url.path, json.dumps(arguments.get("RequestBody")), headers)
            response = server.getresponse()
            text = response.read().decode()
        except OSError as err:
            raise stepfunctions._ExecutionError("States.Http.Socket", str(err)) from None
        finally:
            server.close()
        if response.status >= 400:
            raise stepfunctions._ExecutionError(f"States.Http.StatusCode.{response.status}", text)
        return {"ResponseBody": json.loads(text), "StatusCode": response.status, "StatusText": response.reason}
    stepfunctions._SERVICE_DISPATCH["arn:aws:states:::http:invoke"] = invoke


def patch_code_deploy():
    # AWS::CodeDeploy is unknown. The alias moves at once, as with AllAtOnce.
    def create(logical_id, props, stack_name):
        return provisioners._physical_name(stack_name, logical_id, max_len=64), {}

    for kind in "Application", "DeploymentGroup":
        provisioners._RESOURCE_HANDLERS[f"AWS::CodeDeploy::{kind}"] = {
            "create": create, "update": lambda physical_id, *_, **__: (physical_id, {}), "delete": lambda *_: None}


def patch_alarms():
    # An AWS::CloudWatch::Alarm with an expression over metrics is refused. No alarm is tried.
    handlers = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]
    create, update = handlers["create"], handlers["update"]

    def plain(props):
        if "Metrics" not in props:
            return props
        rest = {k: v for k, v in props.items() if k != "Metrics"}
        return {**rest, "Namespace": "Expression", "MetricName": "Expression", "Statistic": "Sum", "Period": 60}

    handlers.update(
        create=lambda logical_id, props, *rest: create(logical_id, plain(props), *rest),
        update=lambda physical_id, old, new, *rest, **named: update(physical_id, plain(old), plain(new), *rest, **named))


def patch_http_api_body():
    # AWS::ApiGatewayV2::Api ignores Body, an OpenAPI document with routes and CORS.
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update = handlers["create"], handlers["update"]

    def load(api_id, body):
        info = body.get("info", {})
        apigateway._apis[api_id]["name"] = info.get("title", "")
        cors = body.get("x-amazon-apigateway-cors")
        apigateway._apis[api_id].pop("corsConfiguration", None)
        if cors:
            apigateway._apis[api_id]["corsConfiguration"] = cors
        apigateway._routes[api_id], apigateway._integrations[api_id] = {}, {}
        for path, operations in body.get("paths", {}).items():
            for method, operation in operations.items():
                integration = operation["x-amazon-apigateway-integration"]
                number = str(len(apigateway._integrations[api_id]))
                apigateway._integrations[api_id][number] = {
                    "integrationId": number, "integrationType": integration["type"].upper(), "integrationUri": integration["uri"],
                    "payloadFormatVersion": integration["payloadFormatVersion"]}
                default = operation.get("isDefaultRoute")
                method = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                apigateway._routes[api_id][number] = {
                    "routeId": number, "routeKey": "$default" if default else f"{method} {path}",
                    "target": f"integrations/{number}", "authorizationType": "NONE"}

    def created(logical_id, props, stack_name):
        api_id, attributes = create(logical_id, {"Name": "api", **props}, stack_name)
        load(api_id, props.get("Body", {}))
        return api_id, attributes

    def updated(physical_id, old, new, stack_name, logical_id=None):
        api_id, attributes = update(physical_id, old, {"Name": "api", **new}, stack_name, logical_id)
        load(api_id, new.get("Body", {}))
        return api_id, attributes

    handlers.update(create=created, update=updated)

    # The policy of the function must let the API invoke it.
    invoke = apigateway._invoke_lambda_proxy

    async def invoke_lambda_proxy(integration, api_id, stage, path, method, *args, **kwargs):
        arn = apigateway._extract_lambda_ref_from_integration_uri(integration["integrationUri"])
        source = f"arn:aws:execute-api:{get_region()}:{get_account_id()}:{api_id}/{stage}/{method}{path}"
        if not accepts(arn, "lambda:InvokeFunction", "apigateway.amazonaws.com", source):
            return 500, {"Content-Type": "application/json"}, b'{"message":"Internal Server Error"}'
        return await invoke(integration, api_id, stage, path, method, *args, **kwargs)

    apigateway._invoke_lambda_proxy = invoke_lambda_proxy


def patch_stream_labels():
    # The label of a stream and that in its ARN differ, and end in Z.
    handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create = handlers["create"]

    def created(logical_id, props, stack_name):
        name, attributes = create(logical_id, props, stack_name)
        if "StreamArn" in attributes:
            label = dynamodb._stream_label()
            attributes["StreamArn"] = f"{attributes['Arn']}/stream/{label}"
            dynamodb._tables[name].update(LatestStreamLabel=label, LatestStreamArn=attributes["StreamArn"])
        return name, attributes

    handlers["create"] = created


def patch_time_to_live():
    # A template's TimeToLiveSpecification is ignored, and the removal of an expired item is
    # not in the stream of its table.
    handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create, update = handlers["create"], handlers["update"]

    def specify(name, props):
        if "TimeToLiveSpecification" in props:
            dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": props["TimeToLiveSpecification"]})

    def created(logical_id, props, stack_name):
        name, attributes = create(logical_id, props, stack_name)
        specify(name, props)
        return name, attributes

    def updated(physical_id, old, new, *rest, **named):
        result = update(physical_id, old, new, *rest, **named)
        specify(result[0], new)
        return result

    handlers.update(create=created, update=updated)
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    remove, build, get = dynamodb._remove_item, dynamodb._build_change_record, dynamodb_streams._get_records

    def expires():
        return threading.current_thread().name == "dynamodb-ttl-reaper"

    def remove_item(table, *key):
        item = remove(table, *key)
        if item is not None and expires():
            region, account = table["TableArn"].split(":")[3:5]
            set_request_account_id(account)
            set_request_region(region)
            dynamodb._emit_stream_event(table["TableName"], "REMOVE", item, None)
        return item

    def build_change_record(*args):
        record = build(*args)
        return {**record, "userIdentity": identity} if expires() else record

    def get_records(data):
        # In the API of streams, unlike in Lambda's events, the names have capitals.
        status, headers, body = get(data)
        answer = json.loads(body)
        for record in answer.get("Records", []):
            if "userIdentity" in record:
                record["userIdentity"] = {"Type": identity["type"], "PrincipalId": identity["principalId"]}
        return status, headers, json.dumps(answer).encode()

    dynamodb._remove_item, dynamodb._build_change_record = remove_item, build_change_record
    dynamodb_streams._get_records = get_records


def patch_stream_log():
    # The log does not name the records of streams that a function receives.
    execute = lambda_svc._execute_function

    def execute_function(func, event, *args, **kwargs):
        for record in event.get("Records", []) if isinstance(event, dict) else []:
            if record.get("eventSource") == "aws:dynamodb":
                change = record["dynamodb"]
                received = {"function": func["config"]["FunctionName"], "change": record["eventName"], "keys": change["Keys"],
                            "sequence": change["SequenceNumber"]}
                log("received: " + json.dumps(received))
        return execute(func, event, *args, **kwargs)

    lambda_svc._execute_function = execute_function


def patch_mapping_properties():
    # The numbers of an event source mapping that are parameters remain text, and properties
    # that an update removes remain.
    removable = "DestinationConfig", "FilterCriteria"

    def numbers(value):
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items()}
        return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
    create, update = handlers["create"], handlers["update"]
    handlers.update(
        create=lambda logical_id, props, *rest: create(logical_id, numbers(props), *rest),
        update=lambda physical_id, old, new, *rest, **named: update(
            physical_id, numbers(old), {**{name: {} for name in removable if name in old}, **numbers(new)}, *rest, **named))


def patch_mapping_permissions():
    # An event source mapping reads, deletes and reports without asking the role of the
    # function. The failed records of a stream are not sent again.
    needed = {"sqs": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
              "dynamodb": ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"]}
    everywhere = lambda_svc._iter_all_esms

    def permitted(account, region, mapping):
        set_request_account_id(account)
        set_request_region(region)
        function = (lambda_svc._functions.get(mapping["FunctionName"]) or {}).get("config", {})
        source = mapping["EventSourceArn"]
        checks = [(action, source) for action in needed[source.split(":")[2]]]
        on_failure = (mapping.get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination")
        if on_failure:
            checks.append(("sqs:SendMessage", on_failure))
        return bool(function) and all(permits(function["Role"], *check) for check in checks)

    lambda_svc._iter_all_esms = lambda: (found for found in everywhere() if permitted(*found))

    execute = lambda_svc._execute_function

    def execute_function(func, event, *args, **kwargs):
        result = execute(func, event, *args, **kwargs)
        records = event.get("Records") if isinstance(event, dict) else None
        if records and records[0].get("eventSource") == "aws:dynamodb":
            body = result.get("body")
            if isinstance(body, dict) and body.get("batchItemFailures"):
                return {**result, "error": True}
        return result

    lambda_svc._execute_function = execute_function


def patch_domain_names():
    # A request to a custom domain has the domainName of the API, and none has a domainPrefix.
    execute = lambda_svc._execute_function

    def execute_function(func, event, *args, **kwargs):
        if isinstance(event, dict) and "domainName" in event.get("requestContext", {}):
            name = event["headers"]["host"].split(":")[0]
            event["requestContext"].update(domainName=name, domainPrefix=name.split(".")[0])
        return execute(func, event, *args, **kwargs)

    lambda_svc._execute_function = execute_function


def patch_function_roles():
    # A function has the permissions of its role even if the role does not trust Lambda.
    execute = lambda_svc._execute_function

    def execute_function(func, event, *args, **kwargs):
        config = func.get("config") or func
        arn = ":".join(config["FunctionArn"].split(":")[:7])
        if not lambda_svc._function_config_scope_mismatch(config) and not trusts(config["Role"], "lambda.amazonaws.com", arn):
            body = {"errorType": "AccessDeniedException", "errorMessage": f"Lambda may not assume {config['Role']} for {arn}"}
            return {"body": body, "error": True, "function_error": "Unhandled", "log": ""}
        return execute(func, event, *args, **kwargs)

    lambda_svc._execute_function = execute_function


def patch_function_logs():
    # The log of a function is written even if its role may not write it.
    emit = lambda_svc._emit_lambda_logs

    def emit_logs(func, *args, **kwargs):
        config = func.get("config") or func
        region, account = config["FunctionArn"].split(":")[3:5]
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
        stream = f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:any"
        if all(permits(config["Role"], action, stream) for action in ("logs:CreateLogStream", "logs:PutLogEvents")):
            emit(func, *args, **kwargs)

    lambda_svc._emit_lambda_logs = emit_logs


def patch_resources():
    # The ARN of each schedule has the group default, and requests for a stack and for a
    # stream of a table are for no resource.
    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(service, method, path, headers, body, query_params, region, account):
        arn = extract(service, method, path, headers, body, query_params, region, account)
        if service == "scheduler" and ":schedule/default/" in arn:
            group = query_params.get("groupName") or json.loads(body or b"{}").get("GroupName") or "default"
            group = group[0] if isinstance(group, list) else group
            arn = arn.replace(":schedule/default/", f":schedule/{group}/")
        if service == "dynamodbstreams":
            data = json.loads(body or b"{}")
            iterator = dynamodb_streams._decode_iterator(data.get("ShardIterator", "")) or {}
            arn = data.get("StreamArn") or iterator.get("arn") or arn
        if service == "cloudformation" and query_params.get("StackName"):
            name = query_params["StackName"]
            arn = f"arn:aws:cloudformation:{region}:{account}:stack/{name if isinstance(name, str) else name[0]}/*"
        return arn

    iam_actions.extract_resource_arn = extract_resource_arn


def patch_passed_roles():
    # Scheduler requires no iam:PassRole.
    def passing(write):
        def checked(name, body):
            role, caller = body.get("Target", {}).get("RoleArn", ""), iam_evaluator.caller_arn()
            if ":assumed-role/" in caller and not permits(
                    f"arn:aws:iam::{get_account_id()}:role/{role_name(caller)}", "iam:PassRole", role,
                    **{"iam:PassedToService": "scheduler.amazonaws.com"}):
                return scheduler._error(403, "AccessDeniedException", f"{caller} may not pass {role}")
            return write(name, body)
        return checked

    scheduler._create_schedule, scheduler._update_schedule = passing(scheduler._create_schedule), passing(scheduler._update_schedule)


def patch_scheduler_pages():
    # ListSchedules returns the first page, and no token for the next one.
    everything = scheduler._list_schedules

    def list_schedules(query):
        status, headers, body = everything({**query, "MaxResults": "1000000"})
        found, first = json.loads(body)["Schedules"], int(query.get("NextToken", 0))
        after = first + int(query.get("MaxResults", 100))
        page = {"Schedules": found[first:after]}
        if after < len(found):
            page["NextToken"] = str(after)
        return status, headers, json.dumps(page).encode()

    scheduler._list_schedules = list_schedules


def patch_scheduler_targets():
    # Scheduler ignores EventBridgeParameters, the context attributes in Input, the role
    # of the target, its dead-letter queue, and the start date as the first run of a rate.
    # It looks every ten seconds.
    def occurrences(schedule, after, until):
        """Yields the run times of a schedule in (after, until], in seconds."""
        expression, start = schedule["ScheduleExpression"], scheduler._to_epoch(schedule.get("StartDate"))
        interval, fields = eventbridge._parse_rate_seconds(expression), eventbridge._parse_cron_fields(expression)
        if interval:
            first = start if start is not None else schedule["CreationDate"] + interval
            at = first + max(0, (after - first) // interval + 1) * interval
            while at <= until:
                yield at
                at += interval
        elif fields:
            at = datetime.datetime.fromtimestamp(after, datetime.timezone.utc)
            while (at := eventbridge._cron_next_fire(fields, at)) and at.timestamp() <= until:
                yield at.timestamp()

    def deliver(schedule, at):
        target, arn = schedule["Target"], schedule["Target"]["Arn"]
        group = f"arn:aws:scheduler:{get_region()}:{get_account_id()}:schedule-group/{schedule['GroupName']}"
        stamp = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = target.get("Input", "{}").replace("<aws.scheduler.scheduled-time>", stamp)
        trusted = trusts(target["RoleArn"], "scheduler.amazonaws.com", group)
        if ":lambda:" in arn:
            if trusted and permits(target["RoleArn"], "lambda:InvokeFunction", arn):
                eventbridge._dispatch_to_lambda(arn, text)
            return
        bus, parameters = arn.split("/", 1)[1], target["EventBridgeParameters"]
        if trusted and permits(target["RoleArn"], "events:PutEvents", arn) and bus_policy_decision(
                bus, target["RoleArn"], parameters["DetailType"]) != "Deny":
            put({"Entries": [{"EventBusName": bus, "Source": parameters["Source"], "DetailType": parameters["DetailType"],
                              "Detail": text, "Resources": [schedule["Arn"]]}]})
            return
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        if trusted and queue and permits(target["RoleArn"], "sqs:SendMessage", queue):
            eventbridge._dispatch_to_sqs(eventbridge.parse_arn(queue), text)

    put = eventbridge._put_events  # before patch_bus_policies, because the caller is not a request
    handled = {}  # key of a schedule -> its last run time that was handled

    def tick():
        now = time.time()
        for key, schedule in list(scheduler._schedules._data.items()):
            after = max(handled.get(key, 0), schedule["LastModificationDate"])
            for at in occurrences(schedule, after, now):
                handled[key] = at
                if schedule["State"] == "ENABLED":
                    set_request_account_id(key[0])
                    set_request_region(key[1])
                    deliver(schedule, at)

    scheduler._tick_schedules, scheduler._SCHEDULE_TICK_INTERVAL = tick, 0.5


if __name__ == "__main__":
    patch_scheduler_targets()  # first, see there
    for patch in [value for name, value in globals().items() if name.startswith("patch_") and name != "patch_scheduler_targets"]:
        patch()
    sys.exit(app.main())
