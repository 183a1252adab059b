import Foundation

extension RankGroup {
  /// The library that connects ranks by MPI: the one that the environment names, or that which
  /// `make mpi` puts beside the program.
  private static func libraryPath(environment: [String: String]) -> String? {
    if let path = environment["CONDI_MPI_LIBRARY"] { return path }
    let program = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    let path = program.deletingLastPathComponent().appending(path: "libcondi-mpi.so").path
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }

  /// Whether there is a library that connects ranks.
  package static func isSupported(environment: [String: String]) -> Bool {
    libraryPath(environment: environment) != nil
  }

  /// The group that a launcher started this process in: that of Open MPI, where its library is there
  /// and the environment says that `mpirun`, or `srun` with PMIx or PMI, is; else the process alone.
  ///
  /// To be called once, after signal handlers are installed.
  ///
  /// - Throws: an error that names the library when it cannot be loaded.
  package static func launched(environment: [String: String]) throws -> RankGroup {
    let launchers = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"]
    guard launchers.contains(where: { environment[$0] != nil }),
      let path = libraryPath(environment: environment)
    else { return .alone }
    return RankGroup(try MPILink(libraryPath: path))
  }
}
