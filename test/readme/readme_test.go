package readme

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTableTakesThePlaceOfTheOneBefore(t *testing.T) {
	page := filepath.Join(t.TempDir(), "README.md")
	const other, begin, end = "<!-- made by make tea -->\nleaves\n<!-- end -->\n", "<!-- made by make coffee -->\n", "<!-- end -->\n"
	if err := os.WriteFile(page, []byte("# A\n"+other+begin+"old\n"+end+"rest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"first\n", "second\n"} {
		if err := Replace(page, "coffee", table); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if want := "# A\n" + other + begin + "second\n" + end + "rest\n"; err != nil || string(text) != want {
		t.Errorf("the page is %q, want %q (%v)", text, want, err)
	}
	if Replace(page, "cocoa", "table\n") == nil {
		t.Error("a page with no place for the table is no error")
	}
}
