// Writes every usage event of an account to a file, one a line, each once: over restarts and kills of this program, of ARouter and of NATS.
//
// The server keeps the place of the consumer. An event is acknowledged after it is on the disk, so none is lost; one that comes again is
// skipped by its id.
//
// Usage: go mod tidy, then go run usage.go NATS_URL FILE      needs: Go 1.19 or newer
// `arouter admin consumer create NAME --account ID` prints the address. Its user has the name of the durable consumer.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

const stream = "USAGE"

// eventID returns the id of an event.
func eventID(event []byte) (string, error) {
	var parsed struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(event, &parsed)
	return parsed.ID, err
}

// readIDs returns the ids of the events in the file. It removes a torn last line.
func readIDs(file *os.File) (map[string]bool, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	ids, whole := map[string]bool{}, int64(0)
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		id, err := eventID(line)
		if err != nil {
			return nil, err
		}
		whole += int64(len(line))
		ids[id] = true
	}
	return ids, file.Truncate(whole)
}

// follow reads on until the connection breaks.
func follow(address string, file *os.File) error {
	ids, err := readIDs(file)
	if err != nil {
		return err
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return err
	}
	connection, err := nats.Connect(address, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer connection.Close()
	jetstream, err := connection.JetStream()
	if err != nil {
		return err
	}
	durable := parsed.User.Username()
	info, err := jetstream.ConsumerInfo(stream, durable)
	if err != nil {
		return err
	}
	consumer, err := jetstream.PullSubscribe(info.Config.FilterSubject, durable, nats.Bind(stream, durable))
	if err != nil {
		return err
	}
	for {
		messages, err := consumer.Fetch(500, nats.MaxWait(5*time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			// A consumer that the server has lost would be silent for ever.
			if _, err := consumer.ConsumerInfo(); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return err
		}
		for _, message := range messages {
			id, err := eventID(message.Data)
			if err != nil {
				return err
			}
			if !ids[id] {
				ids[id] = true
				if _, err := file.Write(append(message.Data, '\n')); err != nil {
					return err
				}
			}
		}
		if err := file.Sync(); err != nil {
			return err
		}
		for _, message := range messages {
			if err := message.Ack(); err != nil {
				return err
			}
		}
	}
}

func main() {
	file, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		fmt.Fprintln(os.Stderr, "reading again in a second:", follow(os.Args[1], file))
		time.Sleep(time.Second)
	}
}
