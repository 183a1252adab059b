import Formats
import Imaging
import LinearAlgebra
import Storage
import SuperResolution

/// What `--version` prints: the tool's version, then one line for each library that it runs with and
/// for the instruction set of its kernels.
enum ToolVersion {
  static var text: String {
    let libraries =
      LinkedLibraries.versions + [("OpenBLAS", LinkedBLAS.version)] + ImageLibraries.versions
      + [("vector level", VectorLevel.current)]
    return ([Producer.current] + libraries.map { "\($0) \($1)" }).joined(separator: "\n")
  }
}
