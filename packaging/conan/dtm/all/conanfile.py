from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, get
from conan.tools.layout import basic_layout
import os

required_conan_version = ">=2.1"


class DtmConan(ConanFile):
    name = "dtm"
    description = "Distributed transactions for C++: sagas with an embedded, durable coordinator"
    license = "MIT"
    url = "https://github.com/conan-io/conan-center-index"
    homepage = "https://github.com/OWNER/dtm-cpp"
    topics = ("distributed-transactions", "saga", "microservices", "sqlite", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"postgres": [True, False], "mysql": [True, False], "redis": [True, False]}
    default_options = {"postgres": False, "mysql": False, "redis": False}
    no_copy_source = True

    def layout(self):
        basic_layout(self, src_folder="src")

    def requirements(self):
        self.requires("nlohmann_json/3.11.3")
        self.requires("sqlite3/[>=3.45.0 <4]")
        self.requires("cpp-httplib/0.47.0")
        if self.options.postgres:
            self.requires("libpq/[>=15 <18]")
        if self.options.mysql:
            self.requires("mariadb-connector-c/[>=3.3 <4]")
        if self.options.redis:
            self.requires("hiredis/[>=1.0 <2]")

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 17)
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration(f"{self.ref} has only been ported to Linux so far.")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def build(self):
        pass

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))

    def package_info(self):
        # The targets of the upstream CMake package; a program links what the target it names needs.
        components = {
            "core": ["nlohmann_json::nlohmann_json"],
            "client": ["core"],
            "embedded": ["core", "sqlite3::sqlite3"],
            "http": ["client", "embedded"],
            "httplib": ["http", "cpp-httplib::cpp-httplib"],
        }
        if self.options.postgres:
            components["postgres"] = ["core", "libpq::libpq"]
        if self.options.mysql:
            components["mysql"] = ["core", "mariadb-connector-c::mariadb-connector-c"]
        if self.options.redis:
            components["redis"] = ["core", "hiredis::hiredis"]
        for name, requires in components.items():
            component = self.cpp_info.components[name]
            target = "dtm" if name == "embedded" else name
            component.set_property("cmake_target_name", f"dtm::{target}")
            component.set_property("pkg_config_name", "dtm" if name == "embedded" else f"dtm-{name}")
            component.requires = requires
            component.bindirs = []
            component.libdirs = []
        self.cpp_info.components["core"].system_libs = ["pthread"]
        # dtm::dtm and the module dtm are the component above, not all of them together.
        self.cpp_info.set_property("cmake_target_name", "dtm::all")
        self.cpp_info.set_property("pkg_config_name", "dtm-all")
