// Package inspect tests the pages of package inspect in Chromium.
package inspect
