package main

import (
	"path/filepath"
	"reflect"
	"testing"
)

func TestExampleConfigurationsAreGood(t *testing.T) {
	files, err := filepath.Glob("examples/*.toml")
	if err != nil || len(files) != 4 {
		t.Fatalf("examples %v, %v", files, err)
	}
	empty, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		c, err := loadConfig(file)
		if err != nil {
			t.Error(err)
		}
		if reflect.DeepEqual(c, empty) {
			t.Errorf("%s sets nothing", file)
		}
	}
}
