package templatetest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
	"syncplane/pkg/testkit/templatetest"
)

// TestNumbers checks that a parameter which is a number is used only where its text is
// accepted as well: with AWS::LanguageExtensions it can reach SAM as text. CloudFormation
// converts text in its own resources, and SAM passes the named properties on to them. It
// requires integers in the events of a function.
func TestNumbers(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	passedOn := map[string][]string{
		"AWS::Serverless::Function": {"Description", "MemorySize", "ReservedConcurrentExecutions", "Environment"},
		"AWS::Serverless::HttpApi":  {"DefaultRouteSettings"},
	}
	for _, parameter := range template.Names("Parameters") {
		if template.At("Parameters", parameter, "Type") != "Number" {
			continue
		}
		used := false
		for _, id := range template.Names("Resources") {
			kind, _ := template.At("Resources", id, "Type").(string)
			properties, _ := template.Property(id).(map[string]any)
			for name, value := range properties {
				if !slices.Contains(templatetest.Refs(value), parameter) {
					continue
				}
				used = true
				if strings.HasPrefix(kind, "AWS::Serverless::") && !slices.Contains(passedOn[kind], name) {
					t.Errorf("%s of %s (%s) depends on the number %s", name, id, kind, parameter)
				}
			}
		}
		if !used {
			t.Errorf("no resource uses %s", parameter)
		}
	}
	for _, id := range template.OfType("AWS::Serverless::Function") {
		events, _ := template.Property(id, "Events").(map[string]any)
		for name := range events {
			if kind := template.Property(id, "Events", name, "Type"); kind != "HttpApi" && kind != "ScheduleV2" {
				t.Errorf("the event %s of %s is a %v; use a resource of its own", name, id, kind)
			}
		}
	}
}

// TestRoutes checks that every operation of the API has a route of its own, since
// API Gateway throttles each route: the requests of all others share $default, with
// those to paths that do not exist.
func TestRoutes(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(api.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	want := []string{"$default"}
	for path, operations := range document.Paths {
		for method := range operations {
			if method != "parameters" && path != "/api/v1/events" { // the local server has that
				want = append(want, strings.ToUpper(method)+" "+path)
			}
		}
	}
	template := templatetest.Read(t)
	events, _ := template.Property("ApiFunction", "Events").(map[string]any)
	var got []string
	for name := range events {
		route := "$default"
		if path, ok := template.Property("ApiFunction", "Events", name, "Properties", "Path").(string); ok {
			route = fmt.Sprint(template.Property("ApiFunction", "Events", name, "Properties", "Method"), " ", path)
		}
		got = append(got, route)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAlias checks that a change of any property publishes a version, to which the
// alias moves.
func TestAlias(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	for _, id := range template.OfType("AWS::Serverless::Function") {
		if template.Property(id, "AutoPublishAlias") != nil && template.Property(id, "AutoPublishAliasAllProperties") != true {
			t.Errorf("%s has an alias, and AutoPublishAliasAllProperties is not true", id)
		}
	}
	if template.Property("ApiFunction", "AutoPublishAlias") != "live" {
		t.Error("ApiFunction has no alias")
	}
}

// TestRelayRetries checks that the relay retries a record until it is too old, and that
// it is then named in a queue while the stream still holds it.
func TestRelayRetries(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	got := map[string]any{}
	for _, name := range []string{"MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError", "FunctionResponseTypes", "DestinationConfig"} {
		got[name] = template.Property("RelayFunctionChanges", name)
	}
	if diff := cmp.Diff(map[string]any{
		"MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": 12 * 60 * 60, "BisectBatchOnFunctionError": true,
		"FunctionResponseTypes": []any{"ReportBatchItemFailures"},
		"DestinationConfig":     map[string]any{"OnFailure": map[string]any{"Destination": map[string]any{"Fn::GetAtt": "RelayFailures.Arn"}}},
	}, got); diff != "" {
		t.Error(diff)
	}
}

// rules returns the result of each of the template's rules for parameters. Those that
// are not given are "".
func rules(t *testing.T, template templatetest.Template, given map[string]string) map[string]bool {
	t.Helper()
	var evaluate func(value any) any
	evaluate = func(value any) any {
		members, ok := value.(map[string]any)
		if !ok {
			return fmt.Sprint(value)
		}
		for name, argument := range members {
			list, _ := argument.([]any)
			switch name {
			case "Ref":
				return given[argument.(string)] //nolint:forcetypeassert // a test
			case "Fn::Equals":
				return evaluate(list[0]) == evaluate(list[1])
			case "Fn::Not":
				return evaluate(list[0]) == false
			case "Fn::And", "Fn::Or":
				result := name == "Fn::And"
				for _, one := range list {
					if name == "Fn::And" {
						result = result && evaluate(one) == true
					} else {
						result = result || evaluate(one) == true
					}
				}
				return result
			}
		}
		t.Fatalf("the rule %v is not supported", value)
		return nil
	}
	results := map[string]bool{}
	for _, name := range template.Names("Rules") {
		condition := template.At("Rules", name, "RuleCondition")
		if condition != nil && evaluate(condition) != true {
			continue
		}
		assertions, _ := template.At("Rules", name, "Assertions").([]any)
		results[name] = true
		for _, assertion := range assertions {
			members, _ := assertion.(map[string]any)
			if evaluate(members["Assert"]) != true {
				results[name] = false
			}
			if members["AssertDescription"] == nil {
				t.Errorf("an assertion of %s has no description", name)
			}
		}
	}
	return results
}

// TestRules checks which combinations of parameters are refused.
func TestRules(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	for name, test := range map[string]struct {
		given   map[string]string
		refused []string
	}{
		"defaults":                 {nil, nil},
		"a webhook":                {map[string]string{"WebhookUrl": "https://example.com", "WebhookApiKey": "arn"}, nil},
		"a webhook without a key":  {map[string]string{"WebhookUrl": "https://example.com"}, []string{"WebhookHasKey"}},
		"pinned keys":              {map[string]string{"TokenJwks": "{}"}, nil},
		"keys at an address":       {map[string]string{"TokenJwksUrl": "https://example.com"}, nil},
		"a domain":                 {map[string]string{"DomainName": "api.example.com", "CertificateArn": "arn"}, nil},
		"a domain alone":           {map[string]string{"DomainName": "api.example.com"}, []string{"DomainHasCertificate"}},
		"a certificate alone":      {map[string]string{"CertificateArn": "arn"}, []string{"CertificateHasDomain"}},
		"a table":                  {map[string]string{"TableName": "restored", "TableStreamLabel": "2026-11-30T02:15:21.000"}, nil},
		"a table without a stream": {map[string]string{"TableName": "restored"}, []string{"TableHasStream"}},
		"a stream without a table": {map[string]string{"TableStreamLabel": "2026-11-30T02:15:21.000"}, []string{"StreamHasTable"}},
		"production":               {map[string]string{"Stage": "prod", "AlarmTopicArn": "arn"}, nil},
		"silent production":        {map[string]string{"Stage": "prod"}, []string{"ProductionHasAlarms"}},
		"pinned and fetched keys":  {map[string]string{"TokenJwks": "{}", "TokenJwksUrl": "https://example.com"}, []string{"KeysHaveOneSource"}},
	} {
		given := map[string]string{"TokenIssuer": "https://issuer.example.com/", "TokenAudience": "syncplane"}
		maps.Copy(given, test.given)
		var refused []string
		for rule, ok := range rules(t, template, given) {
			if !ok {
				refused = append(refused, rule)
			}
		}
		slices.Sort(refused)
		if diff := cmp.Diff(test.refused, refused); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestTrust checks that a service can assume a role only for a resource of this
// account. Lambda sends no such condition for execution roles.
func TestTrust(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	var unconditional []string
	for _, id := range template.OfType("AWS::IAM::Role") {
		trust := template.Trust(id)
		if len(trust) != 1 {
			t.Fatalf("%s has %d statements", id, len(trust))
		}
		condition, _ := trust[0]["Condition"].(map[string]any)
		if condition == nil {
			unconditional = append(unconditional, id)
			if diff := cmp.Diff(map[string]any{"Service": "lambda.amazonaws.com"}, trust[0]["Principal"]); diff != "" {
				t.Errorf("%s: %s", id, diff)
			}
			continue
		}
		keys := map[string]any{}
		for _, operator := range []string{"StringEquals", "ArnEquals", "ArnLike"} {
			members, _ := condition[operator].(map[string]any)
			maps.Copy(keys, members)
		}
		if diff := cmp.Diff(map[string]any{"Ref": "AWS::AccountId"}, keys["aws:SourceAccount"]); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
		if keys["aws:SourceArn"] == nil {
			t.Errorf("%s has no condition on aws:SourceArn", id)
		}
	}
	if diff := cmp.Diff([]string{"ApiFunctionRole", "IntakeFunctionRole", "ReconcileFunctionRole", "RelayFunctionRole"}, unconditional); diff != "" {
		t.Error(diff)
	}
}

// TestTableKey checks that each function may decrypt the table with the key of
// TableKeyArn, through DynamoDB alone.
func TestTableKey(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	for _, id := range append(template.OfType("AWS::IAM::Role"), template.OfType("AWS::IAM::ManagedPolicy")...) {
		policies := template.Statements(id)
		uses, decrypts := false, 0
		for _, statement := range policies {
			for _, action := range templatetest.Texts(statement["Action"]) {
				uses = uses || strings.HasPrefix(action, "dynamodb:")
			}
			if statement["Action"] != "kms:Decrypt" {
				continue
			}
			decrypts++
			if diff := cmp.Diff(map[string]any{
				"Effect": "Allow", "Action": "kms:Decrypt", "Resource": map[string]any{"Ref": "TableKeyArn"},
				"Condition": map[string]any{"StringEquals": map[string]any{
					"kms:ViaService": map[string]any{"Fn::Sub": "dynamodb.${AWS::Region}.${AWS::URLSuffix}"},
				}},
			}, statement); diff != "" {
				t.Errorf("%s: %s", id, diff)
			}
		}
		if uses != (decrypts == 1) {
			t.Errorf("%s uses DynamoDB: %v; statements for kms:Decrypt: %d", id, uses, decrypts)
		}
	}
}

// TestQueues checks which queues may use a queue as their dead-letter queue: those that
// do.
func TestQueues(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	used := map[string]string{} // the name of the queue, by its dead-letter queue
	for _, id := range template.OfType("AWS::SQS::Queue") {
		if target := templatetest.Refs(template.Property(id, "RedrivePolicy")); len(target) == 1 {
			name, _ := template.Property(id, "QueueName", "Fn::Sub").(string)
			used[target[0]] = name
		}
	}
	for _, id := range template.OfType("AWS::SQS::Queue") {
		want := map[string]any{"redrivePermission": "denyAll"}
		if name := used[id]; name != "" {
			want = map[string]any{"redrivePermission": "byQueue", "sourceQueueArns": []any{
				map[string]any{"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:" + name},
			}}
		}
		if diff := cmp.Diff(any(want), template.Property(id, "RedriveAllowPolicy")); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	if len(used) != 2 {
		t.Errorf("got %v", used)
	}
}

// TestSecret checks that no parameter holds a secret, and that the key of the webhook
// is read from Secrets Manager.
func TestSecret(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	for _, name := range template.Names("Parameters") {
		if template.At("Parameters", name, "NoEcho") != nil {
			t.Errorf("%s holds a secret", name)
		}
	}
	if got := template.Property("WebhookConnection", "AuthParameters", "ApiKeyAuthParameters", "ApiKeyValue", "Fn::Sub"); got != "{{resolve:secretsmanager:${WebhookApiKey}}}" {
		t.Errorf("got %v", got)
	}
	pattern, _ := template.At("Parameters", "WebhookApiKey", "AllowedPattern").(string)
	const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:syncplane/webhook-a1B2c3"
	for text, want := range map[string]bool{
		"": true, arn: true, arn + ":SecretString:key": true, arn + ":SecretString:key::5c1a": true, arn + ":SecretString:::5c1a": true,
		"hush": false, arn + ":SecretBinary": false, arn + "}}": false, arn + ":SecretString:a:b:c:d": false, arn + ":SecretString:a}}x": false,
	} {
		if got := regexp.MustCompile(pattern).MatchString(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// TestBusGuard checks who may put events that only Syncplane publishes.
func TestBusGuard(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	statement, _ := template.Property("BusGuard", "Statement").(map[string]any)
	condition, _ := statement["Condition"].(map[string]any)
	if diff := cmp.Diff([]string{"IntakeFunctionRole", "OperatorRoleArn", "RelayFunctionRole", "ScheduleRole"}, templatetest.Refs(condition["ArnNotEquals"])); diff != "" {
		t.Error(diff)
	}
}

// TestAdoptedTable checks that everything that names the table or its stream names that
// of TableName if it is given.
func TestAdoptedTable(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	if template.At("Resources", "Table", "Condition") != "CreatesTable" {
		t.Error("Table does not depend on CreatesTable")
	}
	uses := 0
	templatetest.Walk(map[string]any{"Resources": template["Resources"], "Outputs": template["Outputs"]}, func(value any) {
		members, _ := value.(map[string]any)
		if choice, ok := members["Fn::If"].([]any); ok && choice[0] == "CreatesTable" {
			uses++
			if diff := cmp.Diff([]string{"Table"}, templatetest.Refs(choice[1])); diff != "" {
				t.Error(diff)
			}
			if got := templatetest.Refs(choice[2]); !slices.Contains(got, "TableName") {
				t.Errorf("got %v", got)
			}
		}
	})
	direct := 0
	templatetest.Walk(map[string]any(template), func(value any) {
		if members, ok := value.(map[string]any); ok && (members["Ref"] == "Table" || members["Fn::GetAtt"] == "Table.Arn" || members["Fn::GetAtt"] == "Table.StreamArn") {
			direct++
		}
	})
	if direct != uses || uses < 10 {
		t.Errorf("%d of %d uses of the table depend on CreatesTable", uses, direct)
	}
}

// TestAddress checks that every function that publishes events names the same address,
// which a domain keeps when the stack is a new one.
func TestAddress(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	want := template.At("Outputs", "ApiUrl", "Value")
	if diff := cmp.Diff([]string{"Api", "ApiUrl", "DomainName"}, templatetest.Refs(want)); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{"RelayFunction", "IntakeFunction", "ReconcileFunction"} {
		if diff := cmp.Diff(want, template.Property(id, "Environment", "Variables", "API_URL")); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	for id, kind := range map[string]string{"Domain": "AWS::ApiGatewayV2::DomainName", "DomainMapping": "AWS::ApiGatewayV2::ApiMapping"} {
		if template.At("Resources", id, "Type") != kind || template.At("Resources", id, "Condition") != "HasDomain" {
			t.Errorf("%s is not a %s that depends on HasDomain", id, kind)
		}
	}
}

// TestOperatorPolicy checks that an operator may read the outputs of the stack by its
// name. Such a request is for the resource stack/NAME/*, not for the stack's ID.
func TestOperatorPolicy(t *testing.T) {
	t.Parallel()
	statements, _ := templatetest.Read(t).Property("OperatorPolicy", "PolicyDocument", "Statement").([]any)
	for _, s := range statements {
		statement, _ := s.(map[string]any)
		if statement["Action"] != "cloudformation:DescribeStacks" {
			continue
		}
		want := map[string]any{"Fn::Sub": "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/${AWS::StackName}/*"}
		if diff := cmp.Diff(want, statement["Resource"]); diff != "" {
			t.Error(diff)
		}
		return
	}
	t.Error("OperatorPolicy does not allow cloudformation:DescribeStacks")
}
