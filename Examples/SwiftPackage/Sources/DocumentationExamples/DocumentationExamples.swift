/// Compiles the examples of the libraries' documentation, which `Scripts/doc-examples.py` writes
/// beside this file as functions; none of them is called.
@main
struct DocumentationExamples {
  static func main() {
    print("the examples of the documentation compile")
  }
}
