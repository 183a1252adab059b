import Formats
import LinearAlgebra
import SuperResolution

/// What `--version` prints: the tool's version, then a line for each library that it runs with.
enum ToolVersion {
  static var text: String {
    let libraries =
      LinkedLibraries.versions + [("OpenBLAS", LinkedBLAS.version)] + ImageLibraries.versions
    return ([Producer.current] + libraries.map { "\($0) \($1)" }).joined(separator: "\n")
  }
}
