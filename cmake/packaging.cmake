# Debian packages: `cpack -G DEB` in the build directory. A component is a package; what a program's folder installs belongs to
# the component that the top CMakeLists.txt names before it (CMAKE_INSTALL_DEFAULT_COMPONENT_NAME). What only packages
# have (configuration in /etc, units, documentation of Debian's kind) is left out by a plain `cmake --install`.
set(MQA_PACKAGE_CONTACT "The mosquitto-aws authors <maintainers@mosquitto-aws.invalid>" CACHE STRING "Maintainer of the packages")

set(packaging ${CMAKE_CURRENT_LIST_DIR}/packaging)
set(generated ${CMAKE_BINARY_DIR}/packaging)
set(CPACK_COMPONENTS_ALL "")

# package(COMPONENT NAME target DESCRIPTION text SYNOPSIS text [DEPENDS ..] [RECOMMENDS ..] [SUGGESTS ..] [CONF files..]
#         [UNIT name] [EXAMPLES files..] [SCRIPTS names..]): nothing when there is no such target
macro(package component)
    cmake_parse_arguments(p "" "NAME;TARGET;SYNOPSIS;DESCRIPTION;DEPENDS;RECOMMENDS;SUGGESTS;UNIT" "CONF;EXAMPLES;SCRIPTS" ${ARGN})
    if(TARGET ${p_TARGET})
        list(APPEND CPACK_COMPONENTS_ALL ${component})
        string(TOUPPER ${component} upper)
        set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${p_NAME})
        set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION net)
        set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "${p_DEPENDS}")
        set(CPACK_DEBIAN_${upper}_PACKAGE_RECOMMENDS "${p_RECOMMENDS}")
        set(CPACK_DEBIAN_${upper}_PACKAGE_SUGGESTS "${p_SUGGESTS}")
        set(CPACK_DEBIAN_${upper}_DESCRIPTION "Here: ${p_SYNOPSIS}.\n${p_DESCRIPTION}")
        package_conf(${component})
        package_documentation(${component})
        package_scripts(${component})
    endif()
endmacro()

# Configuration files, which dpkg is told of, and the unit.
macro(package_conf component)
    set(conffiles "")
    foreach(file IN LISTS p_CONF)
        get_filename_component(name ${file} NAME)
        string(APPEND conffiles "/etc/mosquitto-aws/${name}\n")
        install(FILES ${file} DESTINATION /etc/mosquitto-aws COMPONENT ${component} EXCLUDE_FROM_ALL)
    endforeach()
    if(conffiles)
        file(WRITE ${generated}/${component}/conffiles "${conffiles}")
    endif()
    if(p_UNIT)
        file(READ ${CMAKE_SOURCE_DIR}/conf/systemd/${p_UNIT}.service unit)
        string(REPLACE /usr/local/ /usr/ unit "${unit}")
        file(WRITE ${generated}/${p_UNIT}.service "${unit}")
        install(FILES ${generated}/${p_UNIT}.service DESTINATION /lib/systemd/system
            COMPONENT ${component} EXCLUDE_FROM_ALL)
    endif()
endmacro()

macro(package_documentation component)
    set(PACKAGE ${p_NAME})
    string(TIMESTAMP DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
    configure_file(${packaging}/changelog.in ${generated}/${component}/changelog @ONLY)
    set(doc share/doc/${p_NAME})
    install(FILES ${packaging}/copyright ${generated}/${component}/changelog DESTINATION ${doc}
        COMPONENT ${component} EXCLUDE_FROM_ALL)
    if(p_EXAMPLES)
        install(FILES ${p_EXAMPLES} DESTINATION ${doc}/examples COMPONENT ${component} EXCLUDE_FROM_ALL)
    endif()
endmacro()

macro(package_scripts component)
    set(UNIT "${p_UNIT}")
    set(extra "")
    if(p_CONF)
        list(APPEND extra ${generated}/${component}/conffiles)
    endif()
    foreach(script IN LISTS p_SCRIPTS)
        get_filename_component(name ${script} NAME_WLE)
        configure_file(${packaging}/${script} ${generated}/${component}/${name} @ONLY FILE_PERMISSIONS
            OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
        list(APPEND extra ${generated}/${component}/${name})
    endforeach()
    set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${extra}")
endmacro()

set(conf ${CMAKE_SOURCE_DIR}/conf)
set(scenarios greenhouse iotcore dynamodb dynamodb-iotcore things-stack basic-ingest)
list(TRANSFORM scenarios REPLACE "(.+)" "${conf}/scenarios/\\1.conf")
set(service_scripts service/postinst.in service/prerm.in service/postrm.in)

package(plugin NAME mosquitto-aws-plugin TARGET mosquitto_aws
    SYNOPSIS "AWS IoT Core, DynamoDB and a local store for mosquitto"
    DESCRIPTION "A plugin for mosquitto 2.x. Messages of chosen topics are put into a spool\n\
on disk before their publisher has an acknowledgement, and go from there to\n\
AWS IoT Core, to DynamoDB and to a local SQLite file. Commands come back\n\
from IoT Core."
    DEPENDS "mosquitto (>= 2.0.11)" RECOMMENDS "ca-certificates" SUGGESTS "awscli, mosquitto-clients, curl, openssl"
    EXAMPLES ${conf}/mosquitto_aws.conf ${scenarios}
    SCRIPTS plugin/postinst.in plugin/prerm.in plugin/postrm.in)
package(mqttsn NAME mqttsn-gateway TARGET mqttsn-gateway UNIT mqttsn-gateway
    SYNOPSIS "MQTT-SN gateway for an MQTT broker"
    DESCRIPTION "Connects small devices that speak MQTT-SN 1.2 over UDP or DTLS with an MQTT\nbroker."
    RECOMMENDS "mosquitto" CONF ${conf}/mqttsn-gateway.conf SCRIPTS ${service_scripts})
package(websensor NAME mosquitto-aws-websensor TARGET websensor UNIT websensor
    SYNOPSIS "HTTPS for phones, webhooks and scripts to an MQTT broker"
    DESCRIPTION "Publishes what comes by HTTPS on an MQTT broker, and serves a page that\nturns a phone into a sensor."
    RECOMMENDS "mosquitto" CONF ${conf}/websensor.conf SCRIPTS ${service_scripts})
package(dashboard NAME mosquitto-aws-dashboard TARGET dashboard.cgi
    SYNOPSIS "charts of measurements in SQLite or DynamoDB"
    DESCRIPTION "A CGI and FastCGI program that shows what the mosquitto-aws plugin has\n\
stored, as a page with charts, as JSON and as CSV."
    DEPENDS "libjs-dygraphs" RECOMMENDS "lighttpd | httpd-cgi" CONF ${conf}/dashboard.conf
    EXAMPLES ${conf}/lighttpd-dashboard.conf SCRIPTS dashboard/postrm.in)

if(TARGET mosquitto_aws)
    install(PROGRAMS ${CMAKE_SOURCE_DIR}/certs/provision ${CMAKE_SOURCE_DIR}/certs/check ${CMAKE_SOURCE_DIR}/certs/dev-ca
        DESTINATION share/mosquitto-aws/certs COMPONENT plugin)
endif()
if(TARGET mqttsn-gateway)
    install(TARGETS mqttsn-gateway RUNTIME DESTINATION sbin COMPONENT mqttsn)
    install(FILES ${CMAKE_SOURCE_DIR}/docs/man/mqttsn-gateway.8 DESTINATION share/man/man8 COMPONENT mqttsn)
endif()
if(TARGET websensor)
    install(TARGETS websensor RUNTIME DESTINATION bin COMPONENT websensor)
    install(FILES ${CMAKE_SOURCE_DIR}/docs/man/websensor.8 DESTINATION share/man/man8 COMPONENT websensor)
endif()
if(TARGET dashboard.cgi)
    install(TARGETS dashboard.cgi RUNTIME DESTINATION lib/mosquitto-aws COMPONENT dashboard)
    install(DIRECTORY $<TARGET_FILE_DIR:dashboard.cgi>/page/ DESTINATION share/mosquitto-aws/dashboard COMPONENT dashboard)
    install(FILES ${CMAKE_SOURCE_DIR}/docs/man/dashboard.cgi.8 DESTINATION share/man/man8 COMPONENT dashboard)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mosquitto-aws)
set(CPACK_PACKAGE_CONTACT "${MQA_PACKAGE_CONTACT}")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${packaging}/compress.cmake)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
include(CPack)
