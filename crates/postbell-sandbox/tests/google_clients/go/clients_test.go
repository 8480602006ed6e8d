// Google's Go clients against the sandbox at $SANDBOX_URL, and `postbell watch pull` against Google's fake Pub/Sub:
// see scripts/google-clients.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"golang.org/x/oauth2"
	"google.golang.org/api/gmail/v1"
	"google.golang.org/api/googleapi"
	oauth2api "google.golang.org/api/oauth2/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const project = "sandbox-project"

var sandbox = os.Getenv("SANDBOX_URL")

// control posts to the sandbox's control routes.
func control(t *testing.T, path string, body string) []byte {
	t.Helper()
	answer, err := http.Post(sandbox+"/sandbox/"+path, "application/octet-stream", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode >= 300 {
		t.Fatalf("%s: %s %s", path, answer.Status, text)
	}
	return text
}

func deliver(t *testing.T, email string, subject string) (delivered struct{ ID, ThreadID, HistoryID string }) {
	t.Helper()
	mail := control(t, "mailboxes/"+email+"/mails", "Subject: "+subject+"\r\n\r\nHello.\r\n")
	if err := json.Unmarshal(mail, &delivered); err != nil {
		t.Fatal(err)
	}
	return delivered
}

func source(t *testing.T, email string) oauth2.TokenSource {
	t.Helper()
	var grant struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(control(t, "mailboxes/"+email+"/grant", ""), &grant); err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{ClientID: grant.ClientID, ClientSecret: grant.ClientSecret, Endpoint: oauth2.Endpoint{TokenURL: sandbox + "/token"}}
	return config.TokenSource(context.Background(), &oauth2.Token{RefreshToken: grant.RefreshToken})
}

func TestMailIsReadLabelledAndPutIntoTheTrash(t *testing.T) {
	const email = "go@example.com"
	service, err := gmail.NewService(context.Background(), option.WithTokenSource(source(t, email)), option.WithEndpoint(sandbox))
	if err != nil {
		t.Fatal(err)
	}
	profile, err := service.Users.GetProfile("me").Do()
	if err != nil {
		t.Fatal(err)
	}
	mail := deliver(t, email, "hi")
	partial, err := service.Users.Messages.Get("me", mail.ID).Fields("id").Do()
	if err != nil || partial.Id != mail.ID || partial.LabelIds != nil {
		t.Fatal(partial, err)
	}
	change := &gmail.ModifyMessageRequest{RemoveLabelIds: []string{"UNREAD"}}
	if _, err := service.Users.Messages.Modify("me", mail.ID, change).Do(); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Users.Threads.Trash("me", mail.ThreadID).Do(); err != nil {
		t.Fatal(err)
	}
	history, err := service.Users.History.List("me").StartHistoryId(profile.HistoryId).HistoryTypes("labelAdded", "labelRemoved").Do()
	if err != nil || len(history.History) != 3 || history.History[1].LabelsAdded[0].LabelIds[0] != "TRASH" {
		t.Fatal(history, err)
	}
	var refused *googleapi.Error
	if _, err := service.Users.Threads.Get("me", "0").Do(); !errors.As(err, &refused) || refused.Code != 404 {
		t.Fatal(err)
	}
}

func TestTokensTellWhatTheyAllow(t *testing.T) {
	const email = "go-tokens@example.com"
	token, err := source(t, email).Token()
	if err != nil {
		t.Fatal(err)
	}
	service, err := oauth2api.NewService(context.Background(), option.WithoutAuthentication(), option.WithEndpoint(sandbox))
	if err != nil {
		t.Fatal(err)
	}
	info, err := service.Tokeninfo().AccessToken(token.AccessToken).Do()
	if err != nil || info.Email != email || info.ExpiresIn <= 0 {
		t.Fatal(info, err)
	}
}

func TestPubSubTakesTheSandboxForItsEmulator(t *testing.T) {
	host, _ := url.Parse(sandbox)
	t.Setenv("PUBSUB_EMULATOR_HOST", host.Host)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := pubsub.NewClient(ctx, project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic, subscription := "projects/"+project+"/topics/go-topic", "projects/"+project+"/subscriptions/go-subscription"
	makeTopic(t, ctx, client, topic, subscription)
	_, err = client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic})
	if status.Code(err) != codes.AlreadyExists {
		t.Fatal(err)
	}
	id, err := client.Publisher(topic).Publish(ctx, &pubsub.Message{Data: []byte("one")}).Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	receiving, stop := context.WithCancel(ctx)
	err = client.Subscriber(subscription).Receive(receiving, func(_ context.Context, message *pubsub.Message) {
		if message.ID != id {
			t.Errorf("%s is not %s", message.ID, id)
		}
		message.Ack()
		stop()
	})
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
}

func makeTopic(t *testing.T, ctx context.Context, client *pubsub.Client, topic string, subscription string) {
	t.Helper()
	if _, err := client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	wanted := &pubsubpb.Subscription{Name: subscription, Topic: topic, AckDeadlineSeconds: 10}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(ctx, wanted); err != nil {
		t.Fatal(err)
	}
}

// The watcher pulls from Google's fake Pub/Sub, and reads mail from the sandbox.
func TestTheWatcherPullsFromGooglesFake(t *testing.T) {
	const email = "go-pull@example.com"
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	fake := pstest.NewServer()
	defer fake.Close()
	connection, err := grpc.NewClient(fake.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := pubsub.NewClient(ctx, project, option.WithGRPCConn(connection))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic, subscription := "projects/"+project+"/topics/pulled", "projects/"+project+"/subscriptions/pulled"
	makeTopic(t, ctx, client, topic, subscription)

	home := t.TempDir()
	google := filepath.Join(home, "google.json")
	if err := os.WriteFile(google, control(t, "mailboxes/"+email+"/grant", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	var told struct{ HookURL, HookToken string }
	answer, err := http.Get(sandbox + "/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	control(t, "topics/pulled-watch", "")
	run := func(arguments ...string) *exec.Cmd {
		command := exec.CommandContext(ctx, os.Getenv("POSTBELL"), append([]string{"watch"}, arguments...)...)
		command.Env = append(os.Environ(), "HOME="+home, "GOG_ACCOUNT="+email, "POSTBELL_GOOGLE__CREDENTIALS_FILE="+google,
			"POSTBELL_GOOGLE__TOKEN_URL="+sandbox+"/token", "POSTBELL_GOOGLE__GMAIL_URL="+sandbox,
			"POSTBELL_GOOGLE__PUBSUB_URL=http://"+fake.Addr, "POSTBELL_WATCH_HOOK_TOKEN="+told.HookToken)
		return command
	}
	if output, err := run("start", "--topic", "projects/"+project+"/topics/pulled-watch").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var log bytes.Buffer
	pulling := run("pull", "--subscription", subscription, "--hook-url", told.HookURL)
	pulling.Stderr = &log
	if err := pulling.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = pulling.Process.Signal(syscall.SIGTERM)
		if err := pulling.Wait(); err != nil {
			t.Errorf("%v: %s", err, log.String())
		}
	}()

	// The second hook is refused once: its notification is given back, and comes again.
	for number, refusals := range []int{0, 1} {
		if refusals > 0 {
			control(t, "faults", `{"at":"bot.hook","kind":"refuse","status":503,"often":{"times":1}}`)
		}
		mail := deliver(t, email, fmt.Sprint("pulled ", number))
		notification := fmt.Sprintf(`{"emailAddress":%q,"historyId":%s}`, email, mail.HistoryID)
		id := fake.Publish(topic, []byte(notification), nil)
		for fake.Message(id).Acks == 0 {
			select {
			case <-ctx.Done():
				t.Fatalf("not acknowledged: %s", log.String())
			case <-time.After(20 * time.Millisecond):
			}
		}
		if acks := fake.Message(id).Acks; acks != 1 {
			t.Errorf("%d acknowledgements", acks)
		}
	}
	// What is no notification is acknowledged, too, because it would come for ever.
	id := fake.Publish(topic, []byte("no notification"), nil)
	for fake.Message(id).Acks == 0 && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Fatalf("not acknowledged: %s", log.String())
	}
}
