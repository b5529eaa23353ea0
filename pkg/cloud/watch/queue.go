// Package watch stores, on AWS, the changes of runs whose deadline has passed. A
// message in an SQS queue stands for a run that is queued or in progress, and becomes
// visible at its deadline. The queue only makes these changes prompt: readers apply the
// deadlines themselves (see runs.Run.At).
package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"syncplane/pkg/runs"
)

// maxDelay is the longest delay of a message (SQS API reference, SendMessage).
const maxDelay = 900 * time.Second

// message names the run that a message of the queue stands for.
type message struct {
	Workspace string    `json:"workspace"`
	Sync      string    `json:"sync"`
	Time      time.Time `json:"time"`
}

// Queue is the queue of runs to look at.
type Queue struct {
	Client *sqs.Client
	URL    string
}

// Send puts a message for run into the queue. It becomes visible at the deadline of
// the run, or after 15 minutes if that is earlier.
func (q *Queue) Send(ctx context.Context, run runs.Run, now time.Time) error {
	body, err := json.Marshal(message{Workspace: run.Workspace, Sync: run.SyncID, Time: run.Time})
	if err != nil {
		return fmt.Errorf("encode the message of a run: %w", err)
	}
	_, err = q.Client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: &q.URL, MessageBody: aws.String(string(body)), DelaySeconds: delay(run.DeadlineAt, now),
	})
	if err != nil {
		return fmt.Errorf("watch a run of sync %s: %w", run.SyncID, err)
	}
	return nil
}

// delay returns the time until deadline in seconds, from 0 to maxDelay. It is
// rounded up, so that the deadline has passed when the message is received.
func delay(deadline, now time.Time) int32 {
	wait := min(max(deadline.Sub(now), 0), maxDelay)
	return int32((wait + time.Second - 1) / time.Second)
}
