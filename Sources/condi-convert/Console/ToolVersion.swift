import Formats
import Imaging
import LinearAlgebra
import Storage
import SuperResolution

/// The output of `--version`: the tool's version, then one line for each linked library and for the
/// instruction set of its kernels.
enum ToolVersion {
  /// The whole text if the arguments ask for it, otherwise its first line: OpenBLAS is loaded to
  /// describe itself.
  static var requested: String {
    CommandLine.arguments.contains("--version") ? text : Producer.current
  }

  static var text: String {
    let libraries =
      LinkedLibraries.versions + [("OpenBLAS", OpenBLAS.version)] + ImageLibraries.versions
      + [("vector level", VectorLevel.current)]
    return ([Producer.current] + libraries.map { "\($0) \($1)" }).joined(separator: "\n")
  }
}
