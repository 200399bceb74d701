package index
import ("testing";"strings";"time";"fmt";"github.com/yuin/goldmark";"github.com/yuin/goldmark/text")
func TestP(t *testing.T){
 n:=100000
 in:=map[string]string{
 "gt": strings.Repeat(">",n), "lists": strings.Repeat("- ",n/2), "open[": strings.Repeat("[",n), "![": strings.Repeat("![",n/2),
 "a**": strings.Repeat("a**b ",n/5), "*a_": strings.Repeat("*a_ ",n/4), "**a *": strings.Repeat("**a *a ",n/7),"nest": strings.Repeat("*a ",n/6)+strings.Repeat("a* ",n/6),
 "tick": func()string{var b strings.Builder; for i:=1;i<450;i++{b.WriteString("e"+strings.Repeat("`",i))};return b.String()}(),
 "[](": strings.Repeat("[a](",n/4), "<": strings.Repeat("<!--",n/4), "<?": strings.Repeat("<?",n/2), "refs": strings.Repeat("[a]: u\n",n/7), "]": strings.Repeat("[a] ",n/4),
 "<a": strings.Repeat("<a ",n/3), "&": strings.Repeat("&amp",n/4), "nl>": strings.Repeat("> ",50)+strings.Repeat("\n> x",n/4), "(": "[a](<b"+strings.Repeat("(",n), "_": strings.Repeat("_",n), "indent": func()string{var b strings.Builder; for i:=0;i<440;i++{b.WriteString(strings.Repeat(" ",i)+"- a\n")};return b.String()}(), "![[]()": strings.Repeat("![[]()",n/6), "<!A":strings.Repeat("<!A ",n/4),"<![CDATA[":strings.Repeat("<![CDATA[",n/9),
 }
 for k,v:=range in { s:=time.Now(); done:=make(chan struct{}); go func(){goldmark.DefaultParser().Parse(text.NewReader([]byte(v)));close(done)}()
  select{case <-done: fmt.Println(k,len(v),time.Since(s)); case <-time.After(8*time.Second): fmt.Println(k,len(v),"TIMEOUT")}}
}
